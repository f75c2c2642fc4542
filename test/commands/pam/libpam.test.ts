import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { editStack, type Way } from '../../../src/core/pam-stack.js';
import { alone, wrapper } from '../../pam/build.js';
import { room } from '../room.js';
import { debian, redHat } from './stacks.js';

/** What the real libpam makes of the stacks that are written: pam_debug.so plays the modules that decide. */
const there = wrapper !== undefined && existsSync('/usr/bin/pamtester');

interface Played {
  /** What pam_credmon.so says in each phase, as pam_debug.so calls it; `missing`: it cannot be loaded. */
  readonly auth?: string;
  readonly account?: string;
  /** Whether the password is right. */
  readonly password?: boolean;
}

/** The shipped stacks, with modules that would ask or that are not everywhere played. */
function played(text: string, dir: string, { auth = 'ignore', account = 'ignore', password = false }: Played): string {
  const right = password ? 'success' : 'auth_err';
  const ours = (line: string) => {
    const missing = auth === 'missing' || account === 'missing';
    return line.replace(
      /pam_credmon\.so.*$/,
      missing ? 'pam_not_there.so' : `pam_debug.so auth=${auth} acct=${account}`,
    );
  };
  return text
    .split('\n')
    .map((line) => {
      if (line.includes('pam_credmon.so')) return ours(line);
      // libpam-wrapper knows of no other file than the service's own; libpam takes a whole path.
      if (/^@include|\s(?:include|substack)\s/.test(line)) return line.replace(/(\S+)\s*$/, `${dir}/$1`);
      if (line.startsWith('#')) return line;
      if (/^auth.*pam_unix\.so/.test(line)) return line.replace(/pam_unix\.so.*$/, `pam_debug.so auth=${right}`);
      if (/^auth.*pam_sss\.so/.test(line)) return line.replace(/pam_sss\.so.*$/, 'pam_debug.so auth=auth_err');
      // Whom the account database knows; the first “sufficient” of them ends Red Hat's stack.
      if (/^account.*pam_(?:unix|sss|localuser)\.so/.test(line)) return line.replace(/pam_\w+\.so.*$/, 'pam_debug.so');
      if (/^(?:auth|account).*pam_(?:faildelay|usertype|sepermit|nologin|cap|env)\.so/.test(line))
        return line.replace(/pam_\w+\.so.*$/, 'pam_debug.so auth=ignore acct=ignore');
      if (line.startsWith('session')) return line.replace(/pam_\w+\.so.*$/, 'pam_debug.so');
      return line;
    })
    .join('\n');
}

type Operation = 'authenticate' | 'acct_mgmt' | 'open_session';

function lets(
  stacks: Readonly<Record<string, string>>,
  way: Way,
  operation: Operation,
  play: Played,
  { user = 'nobody', groups = [] }: { readonly user?: string; readonly groups?: readonly string[] } = {},
): boolean {
  const edited = editStack(stacks.sshd ?? '', { way, groups, words: [], read: (name) => stacks[name] });
  if (edited.trouble !== undefined) throw new Error(edited.trouble);
  const dir = join(room(), 'pam.d');
  mkdirSync(dir);
  for (const [name, text] of Object.entries({ ...stacks, sshd: edited.text }))
    writeFileSync(join(dir, name), played(text, dir, play));
  const env = { ...process.env, PAM_WRAPPER: '1', PAM_WRAPPER_SERVICE_DIR: dir };
  const [lock, ...words] = [...alone, 'env', `LD_PRELOAD=${wrapper}`, 'pamtester', 'sshd', user, operation];
  try {
    execFileSync(lock, words, { env, stdio: 'pipe', input: '' });
    return true;
  } catch (thrown) {
    const { stderr = '', stdout = '' } = thrown as { stderr?: Buffer; stdout?: Buffer };
    // A stack that libpam cannot read refuses everybody, too.
    expect(`${stderr}${stdout}`).not.toMatch(/System error|Critical error|Conversation|initialize/i);
    return false;
  }
}

describe.runIf(there)('libpam (skipped without pamtester and libpam-wrapper)', () => {
  describe.each([
    ['Debian', debian],
    ['Red Hat', redHat],
  ])('with %s’s stack', (_, stacks) => {
    test('login: the broker’s word alone counts, whatever the password', () => {
      const of = (play: Played) => lets(stacks, 'login', 'authenticate', play);
      expect(of({ auth: 'success' })).toBe(true);
      for (const auth of ['auth_err', 'authinfo_unavail', 'ignore', 'perm_denied', 'service_err', 'missing'])
        expect([auth, of({ auth, password: true })]).toEqual([auth, false]);
    });

    test('checklist 17: the account phase really decides, and a denial is terminal', () => {
      const of = (account: string) => lets(stacks, 'login', 'acct_mgmt', { account });
      expect([of('success'), of('ignore')]).toEqual([true, true]);
      for (const account of ['perm_denied', 'authinfo_unavail', 'service_err', 'missing'])
        expect([account, of(account)]).toEqual([account, false]);
    });

    test('root and the excepted groups pass it, also when the module cannot be loaded; others do not', () => {
      const of = (user: string, groups: readonly string[]) =>
        lets(stacks, 'login', 'acct_mgmt', { account: 'missing' }, { user, groups });
      expect(of('root', [])).toBe(true);
      expect(of('root', ['no-such-group', 'sys'])).toBe(true);
      expect(of('nobody', ['sys'])).toBe(false);
      expect(of('daemon', ['no-such-group', 'daemon'])).toBe(true);
      expect(of('daemon', ['daemon', 'no-such-group'])).toBe(true);
      expect(of('nobody', ['no-such-group', 'daemon'])).toBe(false);
    });

    test('seed after a key lets nobody in without one, and locks nobody out', () => {
      const of = (auth: string, password: boolean) => lets(stacks, 'seed-key', 'authenticate', { auth, password });
      // The module says success only after a key, and ignore otherwise.
      expect(of('success', false)).toBe(true);
      for (const auth of ['ignore', 'missing']) expect([of(auth, true), of(auth, false)]).toEqual([true, false]);
    });

    test('the session opens whatever the module says', () => {
      for (const way of ['login', 'seed-key'] as const)
        expect(lets(stacks, way, 'open_session', { auth: 'missing' })).toBe(true);
    });
  });

  test('seed after a password decides nothing', () => {
    for (const auth of ['success', 'ignore', 'auth_err', 'authinfo_unavail', 'missing']) {
      const of = (password: boolean) => lets(debian, 'seed-password', 'authenticate', { auth, password });
      expect([auth, of(true), of(false)]).toEqual([auth, true, false]);
    }
  });
});
