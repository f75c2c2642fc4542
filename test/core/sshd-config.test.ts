import { describe, expect, test } from 'vitest';
import {
  atLeast,
  counting,
  effectiveBy,
  flatten,
  includes,
  parseEffective,
  parseSshVersion,
  promptFor,
} from '../../src/core/sshd-config.js';

const main = '/etc/ssh/sshd_config';
const of = (files: Readonly<Record<string, string>>) =>
  flatten(main, {
    read: (path) => files[path],
    list: (folder) =>
      Object.keys(files)
        .filter((path) => path.startsWith(`${folder}/`))
        .map((path) => path.slice(folder.length + 1)),
  });

describe('what counts', () => {
  test('is what comes first, in included files in the order of their names', () => {
    const placed = of({
      [main]: 'include sshd_config.d/*.conf\nUsePAM yes\nPasswordAuthentication = yes # x\n',
      '/etc/ssh/sshd_config.d/50-b.conf': 'PasswordAuthentication no\n',
      '/etc/ssh/sshd_config.d/10-a.conf': 'Match User root\nPasswordAuthentication yes\n',
      '/etc/ssh/sshd_config.d/.hidden.conf': 'UsePAM no\n',
    });
    expect(counting(placed, 'passwordauthentication')).toMatchObject({
      ...{ value: 'no', file: '/etc/ssh/sshd_config.d/50-b.conf', line: 1 },
    });
    expect(counting(placed, 'usepam')).toMatchObject({ value: 'yes', file: main, line: 2 });
    expect(placed.find(({ match }) => match === 'User root')).toMatchObject({ keyword: 'match' });
  });

  test('a Match lasts to the end of its file, and around an Include into it', () => {
    const placed = of({ [main]: 'Match Group a\nInclude /x/*\nUsePAM no\n', '/x/f': 'UsePAM yes\n' });
    expect(counting(placed, 'usepam')).toBeUndefined();
    expect(placed.filter(({ keyword }) => keyword === 'usepam').map(({ match }) => match)).toEqual([
      'Group a',
      'Group a',
    ]);
  });

  test('the older name of keyboard-interactive is the same option', () => {
    expect(
      counting(
        of({ [main]: 'ChallengeResponseAuthentication no\nKbdInteractiveAuthentication yes\n' }),
        'kbdinteractiveauthentication',
      )?.value,
    ).toBe('no');
  });

  test('with what OpenSSH takes where nothing is set, and times in seconds', () => {
    const effective = effectiveBy(of({ [main]: 'LoginGraceTime 1m30s\nPermitRootLogin without-password\n' }));
    expect(effective.get('logingracetime')).toEqual(['90']);
    expect(effective.get('permitrootlogin')).toEqual(['prohibit-password']);
    expect(effective.get('usepam')).toEqual(['no']);
    expect(effective.get('pidfile')).toEqual(['/run/sshd.pid']);
  });

  test('an Include that includes itself ends', () => {
    expect(of({ [main]: 'Include sshd_config\nUsePAM yes\n' }).length).toBeLessThan(100);
  });
});

test.each([
  ['Include /etc/ssh/sshd_config.d/*.conf\n', true],
  ['Include sshd_config.d/*\n', true],
  ['Include /etc/ssh/sshd_config.d/50-*.conf\n', false],
  ['#Include /etc/ssh/sshd_config.d/*.conf\n', false],
  ['Match User x\nInclude /etc/ssh/sshd_config.d/*.conf\n', false],
  ['Include "/etc/ssh/sshd_config.d/[0-9]?-*.conf" # x\n', true],
])('%j reads the drop-in: %s', (text, yes) => {
  expect(includes(of({ [main]: text }), '/etc/ssh/sshd_config.d/10-credmon.conf')).toBe(yes);
});

test('what sshd says of itself', () => {
  expect(parseEffective('port 22\nusepam yes\nhostkey /a\nhostkey /b\nbanner\n').get('hostkey')).toEqual(['/a', '/b']);
  expect(parseEffective('UsePAM yes\nPAMServiceName sshd\n').get('usepam')).toEqual(['yes']);
  expect(parseSshVersion('OpenSSH_9.2p1 Debian-2+deb12u7, OpenSSL 3.0.19')).toEqual([9, 2]);
  expect(parseSshVersion('unknown option -- V\nOpenSSH_8.4p1, OpenSSL 1.1.1\nusage: sshd')).toEqual([8, 4]);
  expect(parseSshVersion('dropbear')).toBeUndefined();
  expect(atLeast([10, 0], [9, 8])).toBe(true);
  expect([promptFor([9, 2]), promptFor([10, 0]), promptFor([10, 3]), promptFor([11, 0])]).toEqual([
    'always',
    'always',
    'never',
    'never',
  ]);
});
