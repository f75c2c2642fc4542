import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { Failed } from '../core/failure.js';
import { isAccountName, type MapRule, type MapTable } from '../core/identity.js';
import { octal, plain } from '../core/text.js';
import { replaceable } from './trusted.js';

/** Bytes: a hundred thousand people and more. */
const largest = 16 * 1024 * 1024;
/** As core/identity.ts has it for the texts of a claim. */
const longestValue = 1024;

/**
 * Reads the map files of the rules, by their names; one that has not changed is not read again. `owners`: the uids whose
 * files and folders are believed, root's and by default those of our own account. Throws Failed('config').
 */
export function openMapFiles(
  owners: readonly number[] = [0, process.geteuid?.() ?? 0],
): (rules: readonly MapRule[]) => Promise<ReadonlyMap<string, MapTable>> {
  const known = new Map<string, { readonly state: string; readonly table: MapTable }>();
  return async (rules) => {
    const files = new Set(rules.flatMap((rule) => ('file' in rule ? [rule.file] : [])));
    const tables = new Map<string, MapTable>();
    for (const file of files) {
      const { state, text } = await readIfNew(file, owners, known.get(file)?.state);
      if (text !== undefined) known.set(file, { state, table: parseMap(text, file) });
      const table = known.get(file)?.table;
      if (table !== undefined) tables.set(file, table);
    }
    return tables;
  };
}

/** Without its text where its state is the one that is known. Whose it is, and its folders, are looked at every time. */
async function readIfNew(
  file: string,
  owners: readonly number[],
  known: string | undefined,
): Promise<{ readonly state: string; readonly text?: Buffer }> {
  try {
    const wrong = replaceable(file, owners);
    if (wrong !== undefined) throw refused(file, wrong, 'who may change it decides who logs in: root alone should');
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stat = await handle.stat({ bigint: true });
      const { dev, ino, size, mtimeNs, ctimeNs } = stat;
      const [uid, mode] = [Number(stat.uid), Number(stat.mode)];
      if (!stat.isFile()) throw refused(file, 'is not a plain file', 'name a file with a line for each person');
      if (!owners.includes(uid)) throw refused(file, `belongs to uid ${uid}`, `run: chown root ${file}`);
      if ((mode & 0o022) !== 0)
        throw refused(file, `may be written by others (mode ${octal(mode)})`, `run: chmod go-w ${file}`);
      if (size > largest) throw refused(file, `is too large (${size} bytes)`, 'use a rule with a pattern instead');
      const state = [dev, ino, size, mtimeNs, ctimeNs].join(' ');
      return state === known ? { state } : { state, text: await handle.readFile() };
    } finally {
      await handle.close();
    }
  } catch (thrown) {
    if (thrown instanceof Failed) throw thrown;
    const code = (thrown as NodeJS.ErrnoException).code ?? 'no reason given';
    const hint = code === 'EACCES' ? 'the broker’s account must be able to read it' : 'check the file name';
    throw refused(file, `cannot be read (${code})`, hint, thrown);
  }
}

/**
 * Lines of a claim's value and the name of an account, with blanks between; a value with blanks, or that begins with `"`
 * or `#`, stands in double quotes as in JSON. `#` begins a comment, at the start of a line and after the name. Throws
 * Failed for the first line that is not so: a map that is half understood would let the wrong people in.
 */
export function parseMap(content: Uint8Array, file: string): MapTable {
  const table = new Map<string, string>();
  const lineOf = new Map<string, number>();
  for (const [index, line] of lines(content, file).entries()) {
    const wrong = (what: string): Failed => refused(`${file}, line ${index + 1}:`, what, 'mend that line');
    if (/^\s*(?:#|$)/.test(line)) continue;
    const found = /^\s*("(?:[^"\\]|\\.)*"(?=\s|$)|[^\s"#]\S*)(?:\s+([^\s#]\S*))?(?:\s+([^\s#].*))?(?:\s+#.*)?\s*$/.exec(
      line,
    );
    if (found === null)
      throw wrong(
        /^\s*"/.test(line) ? 'a quoted value does not end, or has no blank behind it' : 'it is no value and user',
      );
    const [, written = '', user, more] = found;
    if (user === undefined) throw wrong('there is no user after the value');
    if (more !== undefined)
      throw wrong('there is more than a value and a user; a value with blanks needs double quotes');
    const value = written.startsWith('"') ? fromJson(written) : written;
    if (value === undefined) throw wrong('the quoted value is not as in JSON');
    if (value === '' || plain(value, longestValue) !== value) throw wrong('no claim has such a value');
    if (!isAccountName(user)) throw wrong(`"${plain(user, 40)}" can be no account here`);
    const other = table.get(value);
    if (other !== undefined && other !== user)
      throw wrong(`the value is ${other} in line ${lineOf.get(value)}, and here ${user}`);
    table.set(value, user);
    lineOf.set(value, lineOf.get(value) ?? index + 1);
  }
  return table;
}

function lines(content: Uint8Array, file: string): readonly string[] {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  try {
    return decoder.decode(content).split(/\r?\n/);
  } catch {
    const good = Buffer.from(content).toString('utf8').split('\uFFFD', 1)[0] ?? '';
    throw refused(`${file}, line ${good.split('\n').length}:`, 'it is not UTF-8', 'mend that line');
  }
}

function fromJson(text: string): string | undefined {
  try {
    return JSON.parse(text) as string;
  } catch {
    return undefined;
  }
}

const refused = (where: string, what: string, hint: string, cause?: unknown): Failed =>
  new Failed({ kind: 'config', what: `the map file ${where} ${what}`, hint }, { cause });
