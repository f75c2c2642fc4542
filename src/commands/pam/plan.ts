import type { PamSettings } from '../../core/config.js';
import type { Failure } from '../../core/failure.js';
import { editStack, includedBy, type Way } from '../../core/pam-stack.js';
import {
  atLeast,
  counting,
  type Effective,
  type Files,
  flatten,
  includes,
  nameOf,
  type Placed,
  promptFor,
  type SshVersion,
} from '../../core/sshd-config.js';
import type { Places } from './places.js';

export interface Wish {
  readonly mode: 'login' | 'seed';
  /**
   * For `seed`: after which factor a credential is asked for. Default: after passwords, where there are any. For keys sshd has
   * to demand a dialogue after them, which shuts out whatever logs in with nobody at a terminal: only where it is asked for.
   */
  readonly after?: 'key' | 'password';
  /** Groups whose members need no login by device: sshd lets them in by key alone. */
  readonly groups: readonly string[];
  /** That root, or whoever asks for this, may lose the only way in. */
  readonly noExcept: boolean;
  /** Whether all text is in the prompt. Default: by what this sshd does with text. */
  readonly prompt?: 'always' | 'never';
  /** Files of the login hook. */
  readonly hook: readonly PlannedFile[];
}

/** The machine as it is without credmon. */
export interface Machine {
  readonly places: Places;
  readonly files: Files;
  /** The service by which sshd calls PAM. */
  readonly service: string;
  readonly version: SshVersion | undefined;
  /** What counts for those whom no Match is about, and for root. */
  readonly everybody: Effective;
  readonly root: Effective;
  readonly rootHasKey: boolean;
  /** Who asks for this, unless it is root itself; undefined: it cannot be told, or does not matter. */
  readonly person?: { readonly name: string; readonly groups: readonly string[]; readonly hasKey: boolean };
  /** The broker's settings; undefined: it does not answer sshd. */
  readonly pam: Pick<PamSettings, 'socket' | 'firstFactor'> | undefined;
  readonly account: string;
}

export interface PlannedFile {
  readonly path: string;
  /** Bytes as latin1. */
  readonly text: string;
  readonly mode: number;
  /** The file of this package that it is a copy of. */
  readonly source?: string;
}

export interface Plan {
  /** `hook`: nothing of sshd's or PAM's is touched. */
  readonly way: Way | 'hook';
  /** In the order in which they are written; sshd's PAM stack is the last. */
  readonly files: readonly PlannedFile[];
  /** What sshd -T has to say afterwards, of those whom no Match is about; and of root and the groups. */
  readonly everybody: Readonly<Record<string, string>>;
  readonly excepted: Readonly<Record<string, string>>;
  /** What an administrator should know. */
  readonly remarks: readonly string[];
  /** Why it must not be done. */
  readonly refusals: readonly Failure[];
}

/** Seconds that people have to find their telephone. */
const grace = 300;
/**
 * Whoever approves holds one of these meanwhile; the broker has 200 places in all, and 20 for a source. More than that, since
 * sshd drops newcomers without a word, and the broker tells them.
 */
const startups = { most: 200, value: '250:30:400', each: '30' };
const usual = { socket: '/run/credmon/pam/socket', account: 'credmon', timeout: 280 };

/** It works without them, only worse. */
const comforts: readonly string[] = ['LoginGraceTime', 'MaxStartups', 'PerSourceMaxStartups'];

const is = (of: Effective, keyword: string, value: string): boolean => (of.get(keyword)?.[0] ?? '') === value;

export function plan(wish: Wish, machine: Machine): Plan {
  const { places, files, everybody, version, service } = machine;
  const refusals: Failure[] = [];
  const remarks: string[] = [];
  const refuse = (kind: Failure['kind'], what: string, hint: string) => refusals.push({ kind, what, hint });
  const way = wayOf(wish, everybody);

  if (way === 'hook') {
    const what = 'this sshd lets people in by key alone, and the login hook is not part of this package';
    if (wish.hook.length === 0)
      refuse('unsupported', what, 'say --after key, if sshd is to demand a dialogue after the key');
    remarks.push(
      'this sshd lets people in by key alone: the login hook tells them, and nothing of sshd’s is touched (--after key does)',
    );
    return { way, files: wish.hook, everybody: {}, excepted: {}, remarks, refusals };
  }

  const before = flatten(places.sshdConfig, files);
  if (before.length === 0)
    refuse(
      'unsupported',
      `there is no ${places.sshdConfig}, or nothing in it`,
      'install sshd, or say --sshd-config FILE',
    );
  else if (!is(everybody, 'usepam', 'yes')) {
    const { file, line } = counting(before, 'usepam') ?? { file: places.sshdConfig, line: 0 };
    const where = line === 0 ? `${file} does not set UsePAM` : `${file}:${line} sets UsePAM no`;
    refuse('config', `sshd does not use PAM: ${where}`, 'set UsePAM yes, see that people still get in, then try again');
  }
  if (machine.pam === undefined && way === 'login')
    refuse(
      'config',
      'the broker does not answer sshd yet ([pam] is not enabled), so that nobody could log in',
      'set CREDMON_PAM = true and the rules that say who may log in: see docs/ssh.md',
    );
  else if (machine.pam === undefined)
    remarks.push('the broker does not answer sshd yet ([pam] is not enabled): until then nobody is asked for anything');

  // What sshd is told.
  const settings = settingsOf(way, machine);
  const [fitting, forVersion] =
    version === undefined
      ? (['always', 'an sshd of unknown version'] as const)
      : [promptFor(version), `OpenSSH ${version.join('.')}`];
  const prompt = wish.prompt ?? fitting;
  if (prompt === 'never' && fitting === 'always')
    refuse('unsupported', `${forVersion} shows no text before a prompt: nobody would see a link`, 'leave --prompt out');
  const planned: PlannedFile[] = [
    ...wish.hook,
    {
      path: places.prompt,
      text: `${prompt}\n# For ${forVersion}: whether all text has to be in the prompt. Written by credmon pam install.\n`,
      mode: 0o644,
    },
  ];
  if (before.length > 0 && !includes(before, places.dropIn)) {
    const main = files.read(places.sshdConfig) ?? '';
    const added = `# Added by credmon pam install.\nInclude ${places.dropIn.replace(/[^/]+$/, '*.conf')}\n\n`;
    if (version !== undefined && !atLeast(version, [8, 2]))
      refuse(
        'unsupported',
        `OpenSSH ${version.join('.')} knows no Include, which came with 8.2`,
        `put this at the top of ${places.sshdConfig} by hand, and the rest as in docs/ssh.md: ${settings.global.map((pair) => pair.join(' ')).join('; ')}`,
      );
    planned.push({ path: places.sshdConfig, text: added + main, mode: 0o644 });
    const others = files.list(places.dropIn.replace(/\/[^/]+$/, '')).filter((name) => name.endsWith('.conf'));
    if (others.length > 0)
      remarks.push(`${places.sshdConfig} did not include sshd_config.d; now ${others.join(', ')} there count as well`);
  }
  planned.push({ path: places.dropIn, text: dropInText(way, wish.groups, settings), mode: 0o644 });

  // What it makes of that.
  const after = flatten(places.sshdConfig, withFiles(files, planned));
  for (const [keyword, value] of before.length > 0 ? settings.global : []) {
    const counts = counting(after, keyword);
    if (counts === undefined || counts.file === places.dropIn || counts.value === value) continue;
    const hint = `take that line out, or move it below the line that includes ${places.dropIn}`;
    if (comforts.includes(keyword))
      remarks.push(`${counts.file}:${counts.line} sets ${keyword} ${counts.value} before our ${value} is read`);
    else refuse('config', `${counts.file}:${counts.line} sets ${keyword} ${counts.value} before ours is read`, hint);
  }
  if (way !== 'seed-password') secondFactors(way, machine, refuse);
  const others = counting(before, 'authenticationmethods');
  if (others !== undefined && way !== 'seed-password')
    remarks.push(`${others.file}:${others.line} (AuthenticationMethods ${others.value}) no longer counts`);
  if (way !== 'seed-password') matches(way, wish.groups, before, refuse, remarks);
  else opens(before, everybody, refuse);
  if (way === 'seed-password' && !methodsAllow(everybody))
    refuse(
      'config',
      `AuthenticationMethods ${everybody.get('authenticationmethods')?.[0]} has no keyboard-interactive, so that nothing could be asked`,
      'say --after key, or leave it to the login hook (see docs/ssh.md)',
    );

  waysIn(way, wish, machine, refuse);

  // What PAM is told.
  for (const word of [machine.pam?.socket ?? '', machine.account])
    if (!/^[\w./@:+-]*$/.test(word))
      refuse('config', `"${word}" cannot be written as a word into a PAM stack`, 'choose another name for it');
  const stacks = (name: string) =>
    places.pamDirs.map((dir) => files.read(`${dir}/${name}`)).find((text) => text !== undefined);
  const stack = stacks(service);
  const target = `${places.pamDirs[0]}/${service}`;
  if (stack === undefined) refuse('unsupported', `there is no PAM stack for sshd (${target})`, 'say --service NAME');
  else {
    const ours = settings.grace && counting(after, 'logingracetime')?.file === places.dropIn;
    const limit = ours ? grace : Number(everybody.get('logingracetime')?.[0] ?? 120);
    const edited = editStack(stack, { way, groups: wish.groups, words: wordsFor(machine, limit), read: stacks });
    if (edited.trouble !== undefined)
      refuse(
        'unsupported',
        `${target} ${edited.trouble}`,
        'docs/ssh.md has the lines that are wanted, to be put there by hand',
      );
    else {
      planned.push({ path: target, text: edited.text, mode: 0o644 });
      const folder = places.pamDirs[0] ?? '';
      const more = files
        .list(folder)
        .filter(
          (name) => name !== service && includedBy(files.read(`${folder}/${name}`) ?? '', stacks).includes(service),
        );
      if (more.length > 0) remarks.push(`${more.join(', ')} in ${folder} include this stack, so that they ask, too`);
      if (edited.passed.length > 0)
        remarks.push(
          `ssh logins no longer go through ${edited.passed.join(', ')} in the auth phase (${includedBy(stack, stacks).join(', ')})`,
        );
    }
  }
  remarks.push(...consequences(way, wish, machine));
  return {
    ...{ way, files: planned, remarks, refusals },
    everybody: Object.fromEntries(
      settings.global.flatMap(([keyword, value]) =>
        comforts.includes(keyword) ? [] : [[keyword.toLowerCase(), value]],
      ),
    ),
    excepted: way === 'seed-password' ? {} : { authenticationmethods: settings.alone },
  };
}

function wayOf({ mode, after }: Wish, everybody: Effective): Plan['way'] {
  if (mode === 'login') return 'login';
  if (after !== undefined) return after === 'key' ? 'seed-key' : 'seed-password';
  const passwords =
    is(everybody, 'passwordauthentication', 'yes') || is(everybody, 'kbdinteractiveauthentication', 'yes');
  return passwords ? 'seed-password' : 'hook';
}

interface Settings {
  /** Keyword and value, for everybody. */
  readonly global: readonly (readonly [string, string])[];
  /** AuthenticationMethods of those who are excepted. */
  readonly alone: string;
  /** Whether LoginGraceTime is among them. */
  readonly grace: boolean;
}

function settingsOf(way: Way, { everybody, version, pam }: Machine): Settings {
  const tickets = is(everybody, 'gssapiauthentication', 'yes');
  const ask = 'keyboard-interactive:pam';
  const methods =
    way === 'login'
      ? [
          `publickey,${ask}`,
          ...(tickets ? [`gssapi-with-mic,${ask}`] : []),
          ...(pam?.firstFactor === 'optional' ? [ask] : []),
        ]
      : [`publickey,${ask}`, ...(tickets ? ['gssapi-with-mic'] : [])];
  // The same option under its older name.
  const dialogue =
    version !== undefined && !atLeast(version, [8, 7])
      ? 'ChallengeResponseAuthentication'
      : 'KbdInteractiveAuthentication';
  const seconds = Number(everybody.get('logingracetime')?.[0] ?? 120);
  const short = seconds > 0 && seconds < grace;
  const few = Number.parseInt(everybody.get('maxstartups')?.[0] ?? '10', 10) < startups.most;
  const each = is(everybody, 'persourcemaxstartups', 'none') && (version === undefined || atLeast(version, [8, 5]));
  return {
    global: [
      ...(short ? [['LoginGraceTime', String(grace)] as const] : []),
      ...(few ? [['MaxStartups', startups.value] as const] : []),
      ...(few && each ? [['PerSourceMaxStartups', startups.each] as const] : []),
      [dialogue, 'yes'],
      ...(way === 'seed-password' ? [] : [['AuthenticationMethods', methods.join(' ')] as const]),
    ],
    alone: ['publickey', ...(tickets ? ['gssapi-with-mic'] : [])].join(' '),
    grace: short,
  };
}

function dropInText(way: Way, groups: readonly string[], { global, alone }: Settings): string {
  const lines = [
    `# Written by credmon pam install (${way}); credmon pam uninstall takes it away. See docs/ssh.md.`,
    ...global.map((pair) => pair.join(' ')),
  ];
  if (way !== 'seed-password') {
    lines.push(
      '',
      '# Whatever becomes of the issuer, they get in: by key.',
      'Match User root',
      `    AuthenticationMethods ${alone}`,
    );
    if (groups.length > 0) lines.push(`Match Group ${groups.join(',')}`, `    AuthenticationMethods ${alone}`);
  }
  return `${lines.join('\n')}\n`;
}

/** An alternative of AuthenticationMethods by which the module passes what sshd asks PAM for next, since there was a key. */
const passwordAfterKey = /publickey\S*,(?:password|keyboard-interactive)/;

/** Whether AuthenticationMethods want two factors of everybody, whichever way they come. */
const wantsTwo = (methods: string): boolean => methods.split(/\s+/).every((one) => one.includes(','));

/** What a site demands besides keys is not to be taken away in passing: of root, and of all where no login by device takes its place. */
function secondFactors(
  way: Way,
  { root, everybody }: Machine,
  refuse: (kind: Failure['kind'], what: string, hint: string) => void,
): void {
  const [ofRoot = 'any'] = root.get('authenticationmethods') ?? [];
  const [ofAll = 'any'] = everybody.get('authenticationmethods') ?? [];
  if (way === 'seed-key' && wantsTwo(ofAll))
    refuse(
      'config',
      `sshd demands two factors (AuthenticationMethods ${ofAll}), and a key alone would do`,
      'leave it to the login hook (--mode seed), or take --mode login',
    );
  if (wantsTwo(ofRoot) && !is(root, 'permitrootlogin', 'no'))
    refuse(
      'config',
      `sshd demands two factors of root (AuthenticationMethods ${ofRoot}), and a key alone would do`,
      'if it may, say so yourself first: Match User root, AuthenticationMethods publickey',
    );
}

/** Blocks of the site's own that overrule what is set for everybody. Ours come first, and of two the first wins. */
function matches(
  way: Way,
  groups: readonly string[],
  before: readonly Placed[],
  refuse: (kind: Failure['kind'], what: string, hint: string) => void,
  remarks: string[],
): void {
  for (const { keyword, value, match, file, line } of before) {
    if (match === undefined || overruled(match, groups)) continue;
    const said = `${file}:${line}, under Match ${match}, sets ${keyword} ${value}`;
    const name = nameOf(keyword);
    const off = ['kbdinteractiveauthentication', 'pubkeyauthentication'].includes(name) && value === 'no';
    const except = 'put those whom it is about into a group for --except-group, or take it out';
    if (off) refuse('config', `${said}: they could not log in any more`, except);
    else if (name === 'authenticationmethods' && way === 'login')
      refuse('config', `${said}: without a login by device PAM would refuse them`, except);
    else if (name === 'authenticationmethods' && passwordAfterKey.test(value))
      refuse('config', `${said}: after their key any password would do`, except);
    else if (name === 'authenticationmethods') remarks.push(`${said}: they are asked for nothing`);
  }
}

/** A dialogue takes passwords too: it must not give them to those from whom a Match has taken them. */
function opens(
  before: readonly Placed[],
  everybody: Effective,
  refuse: (kind: Failure['kind'], what: string, hint: string) => void,
): void {
  if (is(everybody, 'kbdinteractiveauthentication', 'yes')) return;
  if (is(everybody, 'passwordauthentication', 'no')) {
    const { file, line } = counting(before, 'passwordauthentication') ?? { file: 'sshd', line: 0 };
    refuse(
      'config',
      `${line === 0 ? file : `${file}:${line}`} forbids passwords, and keyboard-interactive would allow them again`,
      'leave --after password out: then it is left to the login hook',
    );
  }
  const shut = new Set(
    before
      .filter(({ keyword, value }) => nameOf(keyword) === 'kbdinteractiveauthentication' && value === 'no')
      .map(({ match }) => match),
  );
  for (const { keyword, value, match, file, line } of before)
    if (match !== undefined && keyword === 'passwordauthentication' && value === 'no' && !shut.has(match))
      refuse(
        'config',
        `${file}:${line}, under Match ${match}, forbids passwords, and keyboard-interactive would allow them again`,
        'put KbdInteractiveAuthentication no beside it',
      );
}

function overruled(match: string, groups: readonly string[]): boolean {
  const [, what = '', names = '', rest] = /^\s*(user|group)(?:\s+|\s*=\s*)(\S+)\s*(.*)$/i.exec(match) ?? [];
  if (rest !== '') return false;
  const all = names.replace(/"/g, '').split(',');
  return what.toLowerCase() === 'user'
    ? all.every((name) => name === 'root')
    : all.every((name) => groups.includes(name));
}

function methodsAllow(everybody: Effective): boolean {
  const methods = everybody.get('authenticationmethods')?.[0] ?? 'any';
  return methods === 'any' || /keyboard-interactive(?!:(?!pam))/.test(methods);
}

/** Nobody is to be locked out who does this, and root is not. */
function waysIn(
  way: Way,
  { groups, noExcept }: Wish,
  { root, rootHasKey, person, everybody }: Machine,
  refuse: (kind: Failure['kind'], what: string, hint: string) => void,
): void {
  if (way === 'seed-password') return;
  if (is(everybody, 'pubkeyauthentication', 'no'))
    refuse('config', 'sshd takes no public keys (PubkeyAuthentication no)', 'set PubkeyAuthentication yes');
  if (noExcept) return;
  const byPassword =
    is(root, 'permitrootlogin', 'yes') &&
    (is(root, 'passwordauthentication', 'yes') || is(root, 'kbdinteractiveauthentication', 'yes'));
  if (byPassword && !rootHasKey)
    refuse(
      'unsupported',
      'a password is root’s only way in over ssh, and would not be any more',
      'put a key into root’s authorized_keys, or say --no-except if the console is enough',
    );
  if (person === undefined) return;
  const { name, hasKey } = person;
  const excepted = groups.find((group) => person.groups.includes(group));
  if (!hasKey)
    refuse(
      'unsupported',
      `you (${name}) have no public key here, without which you would not get in any more`,
      'put one into your authorized_keys, or say --no-except',
    );
  else if (way === 'login' && excepted === undefined)
    refuse(
      'unsupported',
      `you (${name}) would need a login by device yourself: if it does not work you are locked out`,
      `say --except-group with a group of yours (${person.groups.slice(0, 5).join(', ')}), or --no-except`,
    );
}

/** sshd gives up after `limit` seconds (0: never), and closes without a word: the module has to be first. */
function wordsFor({ pam, account }: Machine, limit: number): readonly string[] {
  const timeout = limit === 0 ? usual.timeout : Math.max(10, Math.min(usual.timeout, limit - 20));
  return [
    ...(timeout === usual.timeout ? [] : [`timeout=${timeout}`]),
    ...(pam === undefined || pam.socket === usual.socket ? [] : [`socket=${pam.socket}`]),
    ...(account === usual.account ? [] : [`account=${account}`]),
  ];
}

function consequences(way: Way, { groups }: Wish, { everybody, rootHasKey, version }: Machine): readonly string[] {
  const robots = `programs that ${way === 'login' ? 'log in with nobody at a terminal (cron, BatchMode=yes)' : 'can be asked nothing (BatchMode=yes, Ansible)'} do not get in any more; --except-group is for their accounts`;
  return [
    ...(way === 'seed-password' ? [] : [robots]),
    ...(way !== 'seed-password' && hasPenalties(everybody, version)
      ? [
          'after a few refused logins sshd shuts their address out for a while, and whoever shares it (PerSourcePenalties); PerSourcePenaltyExemptList names those that it spares',
        ]
      : []),
    ...(way === 'seed-key' ? ['without a key nobody gets in any more, not with a password either'] : []),
    ...(is(everybody, 'usedns', 'yes')
      ? [
          'UseDNS yes: logins are counted by the names of hosts, of which whoever has a domain has any number; no is better',
        ]
      : []),
    ...(way !== 'seed-password' && is(everybody, 'hostbasedauthentication', 'yes')
      ? ['host-based logins are at an end: they say nothing about the person']
      : []),
    ...(way === 'login' ? whenDown(groups, rootHasKey) : []),
  ];
}

const hasPenalties = (everybody: Effective, version: SshVersion | undefined): boolean =>
  version !== undefined && atLeast(version, [9, 8]) && !is(everybody, 'persourcepenalties', 'no');

function whenDown(groups: readonly string[], rootHasKey: boolean): readonly string[] {
  const then = 'while the issuer or the broker is down,';
  if (!rootHasKey)
    return [
      `root has no key: ${then} ${groups.length === 0 ? 'nobody gets in over ssh' : `only the members of ${groups.join(', ')} get in over ssh`} (put one into root’s authorized_keys)`,
    ];
  return groups.length === 0 ? [`${then} root alone gets in (--except-group keeps a group that does)`] : [];
}

/** The files as they will be. */
function withFiles(files: Files, planned: readonly PlannedFile[]): Files {
  const paths = planned.map(({ path }) => path);
  return {
    read: (path) => planned.find((file) => file.path === path)?.text ?? files.read(path),
    list(folder) {
      const more = paths
        .filter((path) => path.replace(/\/[^/]+$/, '') === folder)
        .map((path) => path.slice(folder.length + 1));
      return [...new Set([...files.list(folder), ...more])];
    },
  };
}
