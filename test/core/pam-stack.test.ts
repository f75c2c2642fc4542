import { expect, test } from 'vitest';
import { editStack, hasModule, moduleWords, type Way } from '../../src/core/pam-stack.js';
import { debian, redHat } from '../commands/pam/stacks.js';

const edit = (stacks: Readonly<Record<string, string>>, way: Way, groups: readonly string[] = [], sshd = stacks.sshd) =>
  editStack(sshd ?? '', { way, groups, words: [], read: (name) => stacks[name] });

const edited = (...args: Parameters<typeof edit>): string => {
  const { text, trouble } = edit(...args) as { text?: string; trouble?: string };
  expect(trouble).toBeUndefined();
  return text ?? '';
};

/** The lines that PAM sees of a type, in their order. */
const seen = (text: string, type: string) =>
  text
    .split('\n')
    .filter((line) => line.startsWith(type) || line.startsWith('@include'))
    .map((line) => line.replace(/\s+/g, ' ').replace(/ $/, ''));

test('login: the module stands before the passwords, decides, and again in the account phase', () => {
  const text = edited(debian, 'login', ['wheel']);
  expect(seen(text, 'auth').slice(0, 3)).toEqual([
    'auth optional pam_cap.so',
    'auth [success=done default=die] pam_credmon.so mode=login',
    '@include common-auth',
  ]);
  expect(seen(text, 'account').slice(1, 6)).toEqual([
    'account required pam_nologin.so',
    'account [success=2 default=ignore] pam_succeed_if.so quiet uid eq 0',
    'account [success=1 default=ignore] pam_succeed_if.so quiet user ingroup wheel',
    'account required pam_credmon.so mode=login',
    '@include common-account',
  ]);
  expect(seen(text, 'session').slice(-3, -1)).toEqual([
    'session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so open',
    'session optional pam_credmon.so mode=login',
  ]);
});

test('login on Red Hat: before the stack in whose account phase “sufficient” ends everything', () => {
  const text = edited(redHat, 'login');
  expect(text.startsWith('#%PAM-1.0\n')).toBe(true);
  expect(seen(text, 'auth')).toEqual([
    'auth optional pam_env.so',
    'auth [success=done default=die] pam_credmon.so mode=login',
    'auth substack password-auth',
    'auth include postlogin',
  ]);
  expect(seen(text, 'account')).toEqual([
    'account required pam_sepermit.so',
    'account required pam_nologin.so',
    'account [success=1 default=ignore] pam_succeed_if.so quiet uid eq 0',
    'account required pam_credmon.so mode=login',
    'account include password-auth',
  ]);
});

test('seed after a key: sufficient, so that nobody is locked out and nobody let in; no account line', () => {
  for (const stacks of [debian, redHat]) {
    const text = edited(stacks, 'seed-key');
    expect(text).toMatch(/^auth +sufficient +pam_credmon\.so mode=seed$/m);
    expect(moduleWords(text)).toEqual({ auth: ['mode=seed'], session: ['mode=seed'] });
  }
});

test('seed after a password: behind the passwords, and only where a wrong one ends the stack', () => {
  expect(seen(edited(debian, 'seed-password'), 'auth').slice(0, 2)).toEqual([
    '@include common-auth',
    'auth optional pam_credmon.so mode=seed',
  ]);
  expect(edit(redHat, 'seed-password')).toEqual({
    trouble: 'goes on after a wrong password, so that the module would ask those, too',
  });
});

test('nothing but whole lines is added: without ours it is what it was', () => {
  for (const stacks of [debian, redHat])
    for (const way of ['login', 'seed-key'] as const) {
      const before = stacks.sshd?.split('\n') ?? [];
      const after = edited(stacks, way, ['a', 'b']).split('\n');
      let at = 0;
      for (const line of after) if (line === before[at]) at++;
      expect(at).toBe(before.length);
    }
});

test('words for the module are on all its lines', () => {
  const words = ['timeout=100', 'socket=/run/x'];
  const done = editStack(debian.sshd ?? '', { way: 'login', groups: [], words, read: (name) => debian[name] });
  const all = Object.values(moduleWords('text' in done ? done.text : ''));
  expect(all).toEqual([1, 2, 3].map(() => ['mode=login', ...words]));
});

test.each<[string, string, RegExp]>([
  [
    'a module that may ask or decide',
    'auth required pam_duo.so\n',
    /line that is not known here \(required pam_duo\.so\)/,
  ],
  ['a jump over what we add', 'auth [success=1 default=ignore] pam_access.so\n', /jumps over others/],
  ['our module already', 'auth required /opt/lib/pam_credmon.so\n', /has lines with pam_credmon\.so already/],
  ['a second stack', 'auth include other-auth\n', /second auth stack/],
])('is refused where there is %s', (_, line, trouble) => {
  const stacks = { ...debian, 'other-auth': 'auth required pam_permit.so\n' };
  expect(edit(stacks, 'login', [], line + debian.sshd).trouble).toMatch(trouble);
});

test('an empty stack, and one whose inclusion is not there, are refused', () => {
  expect(edit(debian, 'login', [], '').trouble).toBe('has no auth lines');
  expect(edit({ sshd: debian.sshd ?? '' }, 'login').trouble).toBe('has no auth lines');
});

test('a stack without inclusions, and lines that go on in the next, are understood', () => {
  const whole = 'auth required \\\n  pam_unix.so\naccount required pam_unix.so\nsession required pam_unix.so\n';
  expect(seen(edited({}, 'login', [], whole), 'auth')).toEqual([
    'auth [success=done default=die] pam_credmon.so mode=login',
    'auth required \\',
  ]);
  expect(hasModule('# auth required pam_credmon.so\n')).toBe(false);
});
