/**
 * How sshd's PAM stack (pam.conf(5)) has to be for the module.
 *   login         the device login takes the place of the password modules
 *   seed-key      after a public key: asks for a credential, and no password is asked for
 *   seed-password after the password modules
 */
export type Way = 'login' | 'seed-key' | 'seed-password';

type Type = 'auth' | 'account' | 'password' | 'session';

/** One entry of a stack, or the inclusion of another. */
interface Entry {
  /** Lines from and to, from 0: a backslash continues a line. */
  readonly from: number;
  readonly to: number;
  /** Undefined: all types (Debian's @include). */
  readonly type?: Type;
  readonly control: string;
  /** Without folder. */
  readonly module: string;
  /** The line's words from the module on. */
  readonly rest: string;
  readonly included?: { readonly how: 'inline' | 'substack'; readonly name: string };
}

/** The text of another stack; undefined where there is none. */
export type ReadStack = (name: string) => string | undefined;

export interface StackOptions {
  readonly way: Way;
  /** Their members need no device login: sshd lets them in by key alone, so that they only have to pass the account lines. */
  readonly groups: readonly string[];
  /** Further words for the module, such as timeout=100. */
  readonly words: readonly string[];
  readonly read: ReadStack;
}

export interface Edited {
  readonly text: string;
  /** Modules that ssh logins do not go through any more, besides those that ask for passwords. */
  readonly passed: readonly string[];
  readonly trouble?: never;
}

/** `trouble` completes the sentence "<file> …". */
export interface NotEdited {
  readonly trouble: string;
}

/** What a login that skips the password modules would do without, and that asks nobody anything. */
const beside = ['pam_env.so', 'pam_group.so', 'pam_cap.so'];
const first = [
  ...beside,
  'pam_access.so',
  'pam_faildelay.so',
  'pam_nologin.so',
  'pam_securetty.so',
  'pam_selinux_permit.so',
  'pam_sepermit.so',
  'pam_shells.so',
  'pam_warn.so',
];
const passwords = [
  'pam_deny.so',
  'pam_faillock.so',
  'pam_krb5.so',
  'pam_ldap.so',
  'pam_localuser.so',
  'pam_permit.so',
  'pam_sss.so',
  'pam_succeed_if.so',
  'pam_systemd_home.so',
  'pam_unix.so',
  'pam_usertype.so',
  'pam_winbind.so',
];
/** RHEL's: pam_lastlog and the like. */
const afterwards = ['postlogin'];

function parseStack(text: string): readonly Entry[] {
  const lines = text.split('\n');
  const entries: Entry[] = [];
  for (let at = 0; at < lines.length; at++) {
    const from = at;
    let whole = (lines[at] ?? '').replace(/#.*$/, '');
    while (/\\\s*$/.test(whole) && at + 1 < lines.length) {
      at++;
      whole = `${whole.replace(/\\\s*$/, ' ')}${(lines[at] ?? '').replace(/#.*$/, '')}`;
    }
    const to = at;
    const [, all] = /^\s*@include\s+(\S+)/.exec(whole) ?? [];
    if (all !== undefined) {
      entries.push({ from, to, control: '@include', module: '', rest: '', included: { how: 'inline', name: all } });
      continue;
    }
    const [, type = '', control = '', rest = ''] =
      /^\s*-?(auth|account|password|session)\s+(\[[^\]]*\]|\S+)\s+(.*?)\s*$/i.exec(whole) ?? [];
    if (type === '') continue;
    const [module = ''] = rest.split(/\s/, 1);
    const how = ({ include: 'inline', substack: 'substack' } as const)[control.toLowerCase()];
    entries.push({
      ...{ from, to, control, rest, type: type.toLowerCase() as Type },
      module: module.slice(module.lastIndexOf('/') + 1),
      ...(how !== undefined && { included: { how, name: module } }),
    });
  }
  return entries;
}

/** All entries of a type, those of included stacks too. */
function flat(text: string | undefined, type: Type, read: ReadStack, depth = 0): readonly Entry[] {
  if (text === undefined || depth > 8) return [];
  return parseStack(text).flatMap((entry) => {
    if (entry.type !== undefined && entry.type !== type) return [];
    return entry.included ? flat(read(entry.included.name), type, read, depth + 1) : [entry];
  });
}

/** Names of the stacks that a stack includes, at any depth. */
export function includedBy(text: string, read: ReadStack): readonly string[] {
  const names = new Set<string>();
  const walk = (of: string | undefined): void => {
    for (const { included } of parseStack(of ?? '')) {
      if (included === undefined || names.has(included.name)) continue;
      names.add(included.name);
      walk(read(included.name));
    }
  };
  walk(text);
  return [...names];
}

export const hasModule = (text: string): boolean => parseStack(text).some(({ module }) => module === 'pam_credmon.so');

/** The words behind the module in each phase that has it. */
export const moduleWords = (text: string): Readonly<Partial<Record<Type, readonly string[]>>> =>
  Object.fromEntries(
    parseStack(text).flatMap(({ type, module, rest }) =>
      type !== undefined && module === 'pam_credmon.so' ? [[type, rest.split(/\s+/).slice(1)]] : [],
    ),
  );

/** sshd's stack with the module in it. What is not understood is refused: a line too many in there lets anybody in, or nobody. */
export function editStack(text: string, { way, groups, words, read }: StackOptions): Edited | NotEdited {
  if (hasModule(text))
    return { trouble: 'has lines with pam_credmon.so already that were not written by this command' };
  const entries = parseStack(text);
  const of = (type: Type) =>
    entries.filter((entry) =>
      entry.type === undefined ? flat(read(entry.included?.name ?? ''), type, read).length > 0 : entry.type === type,
    );
  const auth = of('auth');
  const anchor = auth.find(({ included, module }) => included !== undefined || !first.includes(module));
  if (anchor === undefined) return { trouble: 'has no auth lines' };
  const odd = auth.find(({ included, module, control }) =>
    included === undefined && control !== 'optional' ? ![...first, ...passwords].includes(module) : false,
  );
  if (odd) return { trouble: `has an auth line that is not known here (${odd.control} ${odd.rest})` };
  const second = auth.find(
    (entry) => entry !== anchor && entry.included !== undefined && !afterwards.includes(entry.included.name),
  );
  if (second) return { trouble: `includes a second auth stack (${second.included?.name})` };
  const jump = [...auth.filter(({ from }) => from < anchor.from), ...of('account')].find(({ control }) =>
    /=\d/.test(control),
  );
  if (jump) return { trouble: `has a line that jumps over others (${jump.control} ${jump.rest})` };
  const inside = anchor.included
    ? flat(read(anchor.included.name), 'auth', read)
    : auth.filter(({ from }) => from >= anchor.from);
  if (anchor.included && inside.length === 0)
    return { trouble: `includes ${anchor.included.name}, which has no auth lines` };

  const module = moduleFor(way, words);
  const lines = text.split('\n');
  const puts: { readonly at: number; readonly lines: readonly string[] }[] = [];
  if (way === 'seed-password') {
    const ends = inside.some(
      ({ control, module }) => module === 'pam_deny.so' && /^requisite$|default=die/.test(control),
    );
    if (anchor.included?.how !== 'inline' || !ends)
      return { trouble: 'goes on after a wrong password, so that the module would ask those, too' };
    puts.push({
      at: anchor.to + 1,
      lines: [mark('asks for a credential, after the password.'), line('auth', 'optional', module)],
    });
  } else {
    const kept = inside.filter(({ module }) => beside.includes(module));
    puts.push({ at: above(lines, anchor.from), lines: authLines(way, module, kept) });
  }
  if (way === 'login') {
    const account = of('account');
    const spot = account.find(({ included }) => included !== undefined) ?? account[0];
    if (spot === undefined) return { trouble: 'has no account lines' };
    puts.push({ at: above(lines, spot.from), lines: accountLines(groups, module) });
  }
  const last = of('session').at(-1);
  if (last === undefined) return { trouble: 'has no session lines' };
  puts.push({
    at: last.to + 1,
    lines: [mark('stores the credential once the login is through.'), line('session', 'optional', module)],
  });
  for (const put of puts.toSorted((a, b) => b.at - a.at)) lines.splice(put.at, 0, ...put.lines);
  const known = [...first, ...passwords, 'pam_credmon.so'];
  const passed =
    way === 'seed-password' ? [] : inside.map(({ module }) => module).filter((one) => !known.includes(one));
  return { text: lines.join('\n'), passed: [...new Set(passed)] };
}

const mark = (what: string): string => `# credmon: ${what}`;
const line = (type: string, control: string, rest: string): string =>
  `${type.padEnd(10)} ${control.padEnd(28)} ${rest}`.trimEnd();
const moduleFor = (way: Way, words: readonly string[]): string =>
  ['pam_credmon.so', `mode=${way === 'login' ? 'login' : 'seed'}`, ...words].join(' ');

/** Above the comment that stands right above a line, if it is one about that line. */
function above(lines: readonly string[], at: number): number {
  let top = at;
  while (top > 0 && /^\s*#[^%]/.test(lines[top - 1] ?? '')) top--;
  return top;
}

function authLines(way: Way, module: string, kept: readonly Entry[]): readonly string[] {
  const again = kept.map(({ rest }) => line('auth', 'optional', rest));
  return way === 'login'
    ? [
        mark('the login by device takes the place of passwords: nobody gets to what follows.'),
        ...again,
        line('auth', '[success=done default=die]', module),
        '',
      ]
    : [
        mark('asks for a credential, after a public key. Without one it passes, and what follows decides.'),
        ...again,
        line('auth', 'sufficient', module),
        '',
      ];
}

/** root and the groups are let through without the module, so also when it cannot be loaded. */
function accountLines(groups: readonly string[], module: string): readonly string[] {
  const conditions = ['uid eq 0', ...groups.map((group) => `user ingroup ${group}`)];
  const but = ['root', ...groups.map((group) => `the group ${group}`)].join(', ');
  return [
    mark(`nobody gets in without a login by device but ${but}.`),
    // Each jump leads behind the line that asks the module.
    ...conditions.map((condition, i) =>
      line('account', `[success=${conditions.length - i} default=ignore]`, `pam_succeed_if.so quiet ${condition}`),
    ),
    line('account', 'required', module),
    '',
  ];
}
