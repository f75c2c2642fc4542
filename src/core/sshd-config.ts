/** One directive of sshd_config(5). */
interface Directive {
  /** In lower case, as sshd -T prints it. */
  readonly keyword: string;
  /** The rest of the line, as it stands there. */
  readonly value: string;
  /** From 1. */
  readonly line: number;
  /** The Match line that it stands under, as it is written; undefined: it is for everybody. */
  readonly match?: string;
}

/** The directives of one file. What sshd would refuse is not found here: sshd itself is asked. */
function parseSshdConfig(text: string): readonly Directive[] {
  const found: Directive[] = [];
  let match: string | undefined;
  for (const [at, line] of text.split('\n').entries()) {
    const parts = /^[ \t\f\r]*([A-Za-z][\w-]*)(?:[ \t]*=[ \t]*|[ \t]+)(.*?)[ \t\f\r]*$/.exec(line);
    if (parts === null) continue;
    const [, word = '', value = ''] = parts;
    const keyword = word.toLowerCase();
    if (keyword === 'match') match = value.replace(/\s+#.*$/, '');
    found.push({ keyword, value, line: at + 1, ...(match !== undefined && { match }) });
  }
  return found;
}

/** The words of a directive: quoted ones whole, a comment behind them left out. */
export function wordsOf(value: string): readonly string[] {
  const words: string[] = [];
  for (const [word, quoted] of value.matchAll(/"([^"]*)"|[^\s"]+/g)) {
    if (word.startsWith('#')) break;
    words.push(quoted ?? word);
  }
  return words;
}

/** glob(7) within one component of a path. */
function matchesGlob(pattern: string, name: string): boolean {
  if (name.startsWith('.') && !pattern.startsWith('.')) return false;
  const source = pattern.replace(/\[[!^]?[^\]]*\]|[\s\S]/g, (piece) => {
    if (piece === '*') return '.*';
    if (piece === '?') return '.';
    if (piece.length > 1) return piece.replace(/^\[[!^]/, '[^').replace(/\\/g, '\\\\');
    return piece.replace(/[\\^$.|+(){}[\]]/g, '\\$&');
  });
  return new RegExp(`^${source}$`, 's').test(name);
}

/** A directive and the file that it stands in. */
export interface Placed extends Directive {
  readonly file: string;
}

/** The files of a machine. */
export interface Files {
  /** Undefined: there is none. */
  read(path: string): string | undefined;
  /** Names in a folder; [] where there is none. */
  list(folder: string): readonly string[];
}

/**
 * All directives in the order in which sshd reads them, those of included files in their places: what stands under no Match
 * counts where it comes first. A Match of an included file ends with it; one around Include goes on in it.
 */
export function flatten(path: string, files: Files, around?: string, depth = 0): readonly Placed[] {
  const text = files.read(path);
  if (text === undefined || depth > 16) return [];
  return parseSshdConfig(text).flatMap((directive) => {
    const match = directive.match ?? around;
    const placed = { ...directive, file: path, ...(match !== undefined && { match }) };
    if (directive.keyword !== 'include') return [placed];
    const found = wordsOf(directive.value).flatMap((pattern) => filesFor(pattern, files));
    return [placed, ...found.flatMap((file) => flatten(file, files, match, depth + 1))];
  });
}

/** Whether sshd reads a file (if it is there) for everybody, by an Include of another. */
export const includes = (placed: readonly Placed[], path: string): boolean =>
  placed.some(
    ({ keyword, value, match }) =>
      keyword === 'include' &&
      match === undefined &&
      wordsOf(value).some((pattern) => {
        const [folder, name] = split(pattern);
        const [itsFolder, itsName] = split(path);
        return folder === itsFolder && matchesGlob(name, itsName);
      }),
  );

/** sshd_config(5): a relative path is one in /etc/ssh. Patterns in the names of folders are nobody's habit, and not looked into. */
function split(pattern: string): readonly [folder: string, name: string] {
  const whole = pattern.startsWith('/') ? pattern : `/etc/ssh/${pattern}`;
  const at = whole.lastIndexOf('/');
  return [whole.slice(0, at).replace(/\/+/g, '/'), whole.slice(at + 1)];
}

/** glob(3) sorts what it finds. */
function filesFor(pattern: string, files: Files): readonly string[] {
  const [folder, name] = split(pattern);
  if (!/[*?[]/.test(name)) return [`${folder}/${name}`];
  const names = files.list(folder).filter((one) => matchesGlob(name, one));
  return names.toSorted().map((one) => `${folder}/${one}`);
}

/** In OpenSSH 8.7 the one became another name of the other. */
const otherNames: Readonly<Record<string, string>> = {
  challengeresponseauthentication: 'kbdinteractiveauthentication',
  skeyauthentication: 'kbdinteractiveauthentication',
};
export const nameOf = (keyword: string): string => otherNames[keyword.toLowerCase()] ?? keyword.toLowerCase();

/** The directive that counts for those whom no Match is about. */
export const counting = (placed: readonly Placed[], keyword: string): Placed | undefined =>
  placed.find((one) => one.match === undefined && nameOf(one.keyword) === nameOf(keyword));

/** What OpenSSH takes where nothing is set, of that which is looked at here. */
const unset = {
  usepam: 'no',
  kbdinteractiveauthentication: 'yes',
  passwordauthentication: 'yes',
  pubkeyauthentication: 'yes',
  gssapiauthentication: 'no',
  hostbasedauthentication: 'no',
  permitrootlogin: 'prohibit-password',
  authenticationmethods: 'any',
  logingracetime: '120',
  maxstartups: '10:30:100',
  persourcemaxstartups: 'none',
  usedns: 'no',
  pidfile: '/run/sshd.pid',
  authorizedkeysfile: '.ssh/authorized_keys .ssh/authorized_keys2',
  authorizedkeyscommand: 'none',
  trustedusercakeys: 'none',
};

/** What sshd -T would print for those whom no Match is about, for machines whose sshd cannot be asked. */
export function effectiveBy(placed: readonly Placed[]): Effective {
  const found = new Map<string, readonly string[]>(Object.entries(unset).map(([keyword, value]) => [keyword, [value]]));
  for (const keyword of found.keys()) {
    const value = counting(placed, keyword)?.value;
    if (value === undefined) continue;
    const words = wordsOf(value).join(' ');
    found.set(keyword, [
      keyword === 'logingracetime' ? `${secondsIn(words)}` : words.replace('without-password', 'prohibit-password'),
    ]);
  }
  return found;
}

/** sshd_config(5), TIME FORMATS: `90`, `2m`, `1h30m`. */
function secondsIn(text: string): number {
  const units: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };
  return [...text.toLowerCase().matchAll(/(\d+)([smhdw]?)/g)].reduce(
    (sum, [, number, unit]) => sum + Number(number) * (units[unit ?? ''] ?? 1),
    0,
  );
}

/** What sshd -T prints: keywords, in lower case (OpenSSH 10.6 writes them as the manual does), to the values of their lines. */
export type Effective = ReadonlyMap<string, readonly string[]>;

export function parseEffective(text: string): Effective {
  const found = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const [, keyword, value] = /^([a-z0-9]+) ?(.*)$/i.exec(line) ?? [];
    if (keyword === undefined) continue;
    const name = keyword.toLowerCase();
    found.set(name, [...(found.get(name) ?? []), value ?? '']);
  }
  return found;
}

/** OpenSSH's version, as ssh -V and sshd -V print it. */
export type SshVersion = readonly [major: number, minor: number];

export function parseSshVersion(text: string): SshVersion | undefined {
  const [, major, minor] = /OpenSSH_(\d+)\.(\d+)/.exec(text) ?? [];
  return major === undefined || minor === undefined ? undefined : [Number(major), Number(minor)];
}

export const atLeast = ([major, minor]: SshVersion, [least, lesser]: SshVersion): boolean =>
  major > least || (major === least && minor >= lesser);

/**
 * From 10.3 on sshd shows what a module says at once (OpenSSH bug 2876); older ones keep it until the next prompt, so there
 * everything has to be in the prompt.
 */
export const promptFor = (version: SshVersion): 'always' | 'never' => (atLeast(version, [10, 3]) ? 'never' : 'always');
