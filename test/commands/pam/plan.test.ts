import { describe, expect, test } from 'vitest';
import { type Machine, type Plan, plan, type Wish } from '../../../src/commands/pam/plan.js';
import { effectiveBy } from '../../../src/core/sshd-config.js';
import { room } from '../room.js';
import { debianFiles, debianSshd, furnish, machineIn, redHatSshd, wish } from './machine.js';
import { redHat } from './stacks.js';

const debianWith = async (
  sshd: string,
  asked: Partial<Wish> = {},
  more: Partial<Machine> = {},
  files = {},
): Promise<Plan> =>
  plan({ ...wish, ...asked }, await machineIn(furnish(room(), { ...debianFiles(sshd), ...files }), more));

const the = (made: Plan, path: string): string => made.files.find((file) => file.path.endsWith(path))?.text ?? '';
const lines = (text: string) => text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
const why = ({ refusals }: Plan) => refusals.map(({ what }) => what).join('\n');

test('Debian’s: a drop-in, the prompt file, and the stack last', async () => {
  const made = await debianWith(debianSshd, { groups: ['wheel', 'ops'] });
  expect(made.refusals).toEqual([]);
  expect(made.files.map(({ path }) => path)).toEqual([
    '/etc/credmon/pam-prompt',
    '/etc/ssh/sshd_config.d/10-credmon.conf',
    '/etc/pam.d/sshd',
  ]);
  expect(lines(the(made, '10-credmon.conf'))).toEqual([
    'LoginGraceTime 300',
    'MaxStartups 250:30:400',
    'PerSourceMaxStartups 30',
    'KbdInteractiveAuthentication yes',
    'AuthenticationMethods publickey,keyboard-interactive:pam',
    'Match User root',
    '    AuthenticationMethods publickey',
    'Match Group wheel,ops',
    '    AuthenticationMethods publickey',
  ]);
});

test('Red Hat’s: its 50-redhat.conf comes later, and tickets are a first factor too', async () => {
  const files = Object.fromEntries([
    ...Object.entries(redHatSshd).map(([name, text]) => [`/etc/ssh/${name}`, text]),
    ...Object.entries(redHat).map(([name, text]) => [`/etc/pam.d/${name}`, text]),
  ]);
  const made = plan(wish, await machineIn(furnish(room(), files)));
  expect(made.refusals).toEqual([]);
  expect(the(made, '10-credmon.conf')).toContain(
    'AuthenticationMethods publickey,keyboard-interactive:pam gssapi-with-mic,keyboard-interactive:pam\n',
  );
  expect(made.excepted).toEqual({ authenticationmethods: 'publickey gssapi-with-mic' });
});

test.each<[string, Machine['version'], string, string]>([
  ['9.2', [9, 2], 'always', 'KbdInteractiveAuthentication yes'],
  ['10.2', [10, 2], 'always', 'KbdInteractiveAuthentication yes'],
  ['10.3', [10, 3], 'never', 'KbdInteractiveAuthentication yes'],
  ['8.4, by the older name', [8, 4], 'always', 'ChallengeResponseAuthentication yes'],
  ['unknown', undefined, 'always', 'KbdInteractiveAuthentication yes'],
])('OpenSSH %s: what it does with text is in the prompt file', async (_, version, word, dialogue) => {
  const made = await debianWith(debianSshd, {}, { version });
  expect(the(made, 'pam-prompt').split('\n')[0]).toBe(word);
  expect(the(made, '10-credmon.conf')).toContain(dialogue);
  expect(the(made, '10-credmon.conf').includes('PerSource')).toBe(!(version !== undefined && version[0] < 9));
});

test('all text in the prompt may be had everywhere, text at once only where sshd shows it', async () => {
  const of = (version: Machine['version'], prompt: Wish['prompt']) =>
    debianWith(debianSshd, prompt && { prompt }, { version });
  expect(the(await of([10, 6], 'always'), 'pam-prompt')).toMatch(/^always\n/);
  expect(why(await of([10, 6], 'never'))).toBe('');
  expect(why(await of([10, 2], 'never'))).toContain('nobody would see a link');
});

describe('seed', () => {
  test('after passwords: sshd lets everybody in as before, so nobody is locked out', async () => {
    const made = await debianWith(debianSshd, { mode: 'seed' });
    expect([made.way, made.refusals]).toEqual(['seed-password', []]);
    expect(the(made, '10-credmon.conf')).not.toContain('AuthenticationMethods');
    expect(the(made, 'pam.d/sshd')).toMatch(/^@include common-auth\n.*\nauth +optional +pam_credmon\.so mode=seed$/m);
  });

  test('where there are keys alone nothing of sshd’s is touched: the hook does it', async () => {
    const hook = [{ path: '/etc/profile.d/credmon.sh', text: '#\n', mode: 0o644 }];
    const made = await debianWith(`${debianSshd}PasswordAuthentication no\n`, { mode: 'seed', hook });
    expect([made.way, made.files, made.refusals]).toEqual(['hook', hook, []]);
  });

  test('after keys only where it is asked for, saying whom it shuts out', async () => {
    const made = await debianWith(debianSshd, { mode: 'seed', after: 'key' });
    expect(made.way).toBe('seed-key');
    expect(the(made, '10-credmon.conf')).toContain('AuthenticationMethods publickey,keyboard-interactive:pam\n');
    expect(made.remarks.join()).toContain('BatchMode=yes');
  });

  test('does not give passwords back to a site that has none', async () => {
    const none = `${debianSshd}PasswordAuthentication no\n`;
    expect(why(await debianWith(none, { mode: 'seed', after: 'password' }))).toContain(
      'sshd_config:7 forbids passwords',
    );
  });

  test('does not give passwords back to those from whom a Match has taken them', async () => {
    const match = 'Match Group ext\n    PasswordAuthentication no\n';
    expect(why(await debianWith(debianSshd + match, { mode: 'seed' }))).toContain(
      'under Match Group ext, forbids passwords',
    );
    const both = `${match}    KbdInteractiveAuthentication no\n`;
    expect((await debianWith(debianSshd + both, { mode: 'seed' })).refusals).toEqual([]);
  });
});

describe('is refused', () => {
  const earlier = '/etc/ssh/sshd_config.d/05-site.conf';
  test.each<[string, string, Record<string, string>, RegExp]>([
    [
      'UsePAM no',
      debianSshd.replace('UsePAM yes', 'UsePAM no'),
      {},
      /sshd does not use PAM: .*sshd_config:3 sets UsePAM no/,
    ],
    ['UsePAM not set', debianSshd.replace('UsePAM yes', ''), {}, /does not set UsePAM/],
    [
      'KbdInteractiveAuthentication set earlier',
      debianSshd,
      { [earlier]: 'KbdInteractiveAuthentication no\n' },
      /05-site\.conf:1 sets KbdInteractiveAuthentication no before ours/,
    ],
    [
      'the same by its older name',
      debianSshd,
      { [earlier]: 'ChallengeResponseAuthentication no\n' },
      /05-site\.conf:1 sets KbdInteractiveAuthentication no before ours/,
    ],
    [
      'AuthenticationMethods set earlier',
      debianSshd,
      { [earlier]: 'AuthenticationMethods publickey\n' },
      /05-site\.conf:1 sets AuthenticationMethods publickey before ours/,
    ],
    [
      'a Match with AuthenticationMethods',
      `${debianSshd}Match Address 10.0.0.0/8\n  AuthenticationMethods publickey\n`,
      {},
      /under Match Address 10\.0\.0\.0\/8.*PAM would refuse them/,
    ],
    [
      'a Match without a dialogue',
      `${debianSshd}Match Group sftp\n  KbdInteractiveAuthentication no\n`,
      {},
      /under Match Group sftp.*could not log in any more/,
    ],
    [
      'a group that is not excepted',
      `${debianSshd}Match Group ops,dev\n  AuthenticationMethods publickey\n`,
      {},
      /under Match Group ops,dev/,
    ],
    ['no public keys', `${debianSshd}PubkeyAuthentication no\n`, {}, /takes no public keys/],
    [
      'a Match for a user',
      `${debianSshd}Match User git\n  AuthenticationMethods publickey\n`,
      {},
      /under Match User git/,
    ],
    ['no stack', debianSshd, { '/etc/pam.d/sshd': '' }, /\/etc\/pam\.d\/sshd has no auth lines/],
  ])('%s', async (_, sshd, files, what) => {
    expect(why(await debianWith(sshd, { groups: ['ops'] }, {}, files))).toMatch(what);
  });

  test('what would need an Include that this sshd does not know', async () => {
    const sshd = debianSshd.replace(/^Include.*\n/, '');
    expect(why(await debianWith(sshd, {}, { version: [8, 0] }))).toContain('knows no Include');
  });

  test('without anybody who may log in: the broker does not answer', async () => {
    expect(why(await debianWith(debianSshd, {}, { pam: undefined }))).toContain('[pam] is not enabled');
    expect((await debianWith(debianSshd, { mode: 'seed' }, { pam: undefined })).refusals).toEqual([]);
  });
});

describe('the only way in', () => {
  const byPassword = `PermitRootLogin yes\n${debianSshd}`;
  test('of root is kept', async () => {
    expect(why(await debianWith(byPassword, {}, { rootHasKey: false }))).toContain('root’s only way in');
    for (const [asked, more] of [
      [{}, { rootHasKey: true }],
      [{ noExcept: true }, { rootHasKey: false }],
      [{ mode: 'seed' }, { rootHasKey: false }],
    ] as const)
      expect((await debianWith(byPassword, asked, more)).refusals).toEqual([]);
    // root had none before either.
    const keyless = await debianWith(debianSshd, {}, { rootHasKey: false });
    expect(keyless.refusals).toEqual([]);
    expect(keyless.remarks.join()).toContain('root has no key: while the issuer or the broker is down, nobody gets in');
  });

  test('of whoever runs this is kept', async () => {
    const alice = { name: 'alice', groups: ['alice', 'wheel'], hasKey: true };
    const of = async (asked: Partial<Wish>, person = alice) => why(await debianWith(debianSshd, asked, { person }));
    expect(await of({})).toContain('you (alice) would need a login by device yourself');
    expect(await of({ groups: ['ops'] })).toContain('you (alice)');
    expect(await of({ groups: ['ops', 'wheel'] })).toBe('');
    expect(await of({ groups: ['wheel'] }, { ...alice, hasKey: false })).toContain('no public key');
    expect(await of({ noExcept: true }, { ...alice, hasKey: false })).toBe('');
    expect(await of({ mode: 'seed', after: 'key' })).toBe('');
    expect(await of({ mode: 'seed' }, { ...alice, hasKey: false })).toBe('');
  });
});

test('a Match for root or an excepted group is overruled by ours, which comes first', async () => {
  const site = `${debianSshd}Match User root\n  AuthenticationMethods password\nMatch Group "ops"\n  AuthenticationMethods publickey\n`;
  expect((await debianWith(site, { groups: ['ops', 'wheel'] })).refusals).toEqual([]);
});

test('AuthenticationMethods that come later no longer count, and that is said', async () => {
  const made = await debianWith(`${debianSshd}AuthenticationMethods publickey,password password\n`);
  expect(made.refusals).toEqual([]);
  expect(made.remarks.join()).toContain('(AuthenticationMethods publickey,password password) no longer counts');
});

test.each<[string, Machine['version'], string, Partial<Wish>, boolean]>([
  ['9.8', [9, 8], 'crash:90 authfail:5', {}, true],
  ['9.8, where they are switched off', [9, 8], 'no', {}, false],
  ['9.8, where nobody is refused', [9, 8], 'crash:90 authfail:5', { mode: 'seed' }, false],
  ['9.7', [9, 7], '', {}, false],
])('OpenSSH %s: whether refused clients shut out their address', async (_, version, penalties, asked, told) => {
  const everybody = new Map([...effectiveBy([]), ['usepam', ['yes']], ['persourcepenalties', [penalties]]]);
  const { remarks } = await debianWith(debianSshd, asked, { version, everybody });
  expect(remarks.join().includes('PerSourcePenalties')).toBe(told);
});

test('names of hosts, by which one address could have any number of places, are told of', async () => {
  const everybody = new Map([...effectiveBy([]), ['usepam', ['yes']], ['usedns', ['yes']]]);
  expect((await debianWith(debianSshd, {}, { everybody })).remarks.join()).toContain('UseDNS yes');
});

describe('two factors that a site demands are not taken away in passing:', () => {
  const two = `${debianSshd}AuthenticationMethods publickey,password publickey,keyboard-interactive:pam\n`;
  const key = { mode: 'seed', after: 'key' } as const;
  const no = 'PermitRootLogin no\n';

  test('of root, who gets in by key alone', async () => {
    expect(why(await debianWith(two))).toContain('sshd demands two factors of root');
    expect((await debianWith(two + no)).refusals).toEqual([]);
  });

  test('of everybody, where the module asks for a credential and nothing more', async () => {
    expect(why(await debianWith(two + no, key))).toContain('sshd demands two factors (Auth');
  });

  test.each(['publickey,password', 'publickey,keyboard-interactive', 'publickey,publickey,password'])(
    'of those whom a Match wants by %s, which would be a key and any password',
    async (methods) => {
      const made = await debianWith(`${debianSshd}Match Group admins\n  AuthenticationMethods ${methods}\n`, key);
      expect(why(made)).toContain('under Match Group admins');
    },
  );

  test('a Match without a key before the password passes nobody', async () => {
    const made = await debianWith(`${debianSshd}Match Group admins\n  AuthenticationMethods password\n`, key);
    expect(made.refusals).toEqual([]);
  });
});

test('without Include one is put on top, for everybody, and what else is read then is said', async () => {
  const sshd = debianSshd.replace(/^Include.*\n/, '');
  const made = await debianWith(sshd, {}, {}, { '/etc/ssh/sshd_config.d/90-x.conf': 'X11Forwarding no\n' });
  expect(made.refusals).toEqual([]);
  expect(the(made, 'sshd_config')).toBe(
    `# Added by credmon pam install.\nInclude /etc/ssh/sshd_config.d/*.conf\n\n${sshd}`,
  );
  expect(made.remarks.join()).toContain('now 90-x.conf there count as well');
});

test('the module gives up before sshd does, also where a shorter LoginGraceTime comes first', async () => {
  const early = { '/etc/ssh/sshd_config.d/05-x.conf': 'LoginGraceTime 1m\n' };
  const made = await debianWith(debianSshd, {}, {}, early);
  expect(the(made, 'pam.d/sshd')).toContain('pam_credmon.so mode=login timeout=40');
  expect(made.remarks.join()).toContain('05-x.conf:1 sets LoginGraceTime 1m before our 300');
  const none = await debianWith(`LoginGraceTime 0\n${debianSshd}`);
  expect(the(none, '10-credmon.conf')).not.toContain('LoginGraceTime');
  expect(the(none, 'pam.d/sshd')).not.toContain('timeout=');
});

test('what would be more than a word in the stack is refused, and other services that include it are named', async () => {
  const pam = { socket: '/run/x y', firstFactor: 'required' } as const;
  expect(why(await debianWith(debianSshd, {}, { pam }))).toContain('cannot be written as a word');
  const made = await debianWith(debianSshd, {}, {}, { '/etc/pam.d/x2go': '@include sshd\n' });
  expect(made.remarks.join()).toContain('x2go in /etc/pam.d include this stack');
});

test('socket and account that are not the usual ones, and a first factor that may be missing', async () => {
  const pam = { socket: '/run/x/pam', firstFactor: 'optional' } as const;
  const made = await debianWith(debianSshd, {}, { pam, account: 'oauth' });
  expect(the(made, 'pam.d/sshd')).toContain('mode=login socket=/run/x/pam account=oauth');
  expect(the(made, '10-credmon.conf')).toContain(
    'AuthenticationMethods publickey,keyboard-interactive:pam keyboard-interactive:pam\n',
  );
});
