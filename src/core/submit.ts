import { fail } from './failure.js';
import { requestOf, type ServiceRequest } from './request.js';
import { plain } from './text.js';

/**
 * Reads a submit file as condor_submit does, as far as it says which credentials its jobs want. The reading is that of
 * HTCondor 23.9 and 25 (config.cpp Parse_macros, submit_utils.cpp NeedsOAuthServices and build_oauth_service_ads),
 * compared with condor_submit -dry-run. Where the answer hangs on what only condor_submit knows (a random number, the
 * output of a program), that is said; nothing is guessed.
 */

/** What the reading needs of the world around it. */
export interface SubmitWorld {
  /** The text of the file at a path; undefined when there is none. */
  read(path: string): string | undefined;
  env(name: string): string | undefined;
  /** A knob of HTCondor's configuration, by its name without regard to case. */
  knob(name: string): string | undefined;
}

export type Variables = Readonly<Record<string, string>>;

export interface SubmitText {
  /** How messages name it, and what `$(SUBMIT_FILE)` is. */
  readonly file: string;
  readonly text: string;
  /** Where condor_submit runs, which the paths in it start from; absent: here. */
  readonly directory?: string;
  /** Set before the first line (`condor_submit NAME=VALUE`), and after the last one before `queue` (`-append`). */
  readonly before?: Variables;
  readonly after?: Variables;
  /** Macros that get their values only when there is a job, beside those that condor_submit itself has. */
  readonly later?: readonly string[];
}

/** `path` as seen from here when a program in `directory` names it. */
export const within = (directory: string | undefined, path: string): string =>
  directory === undefined || directory === '' || path.startsWith('/')
    ? path
    : `${directory.replace(/\/$/, '')}/${path}`;

/** The requests as one word each, for telling whether two are the same. */
export const sameRequest = (request: ServiceRequest): string =>
  JSON.stringify([request.service, request.handle, request.scopes, request.audience, request.options]);

/**
 * What the jobs of a submit file ask for, in condor_submit's order. Of several `queue` statements all are taken
 * together, though condor_submit asks only for what stands before the first: the jobs of the others want it no less.
 * Throws Failed('usage') with file and line.
 */
export function submitRequests(submit: SubmitText, world: SubmitWorld): ServiceRequest[] {
  const macros = new Macros(world, submit.file, submit.later ?? []);
  const found = new Map<string, ServiceRequest>();
  let asked = false;
  for (const [name, value] of Object.entries(submit.before ?? {})) macros.set(name, value, submit.file);
  const onQueue = () => {
    for (const [name, value] of Object.entries(submit.after ?? {})) macros.set(name, value, submit.file);
    for (const request of requestsIn(macros, world)) {
      const key = sameRequest(request);
      if (!found.has(key)) found.set(key, request);
    }
    asked = true;
  };
  new Reader(macros, world, submit.directory, onQueue).read(submit.file, submit.text, 0);
  // HTCondor 25, and DAGMan in any version, take a file without a queue statement for one with a bare `queue` at its end.
  if (!asked) onQueue();
  return [...found.values()];
}

const list = (text: string): string[] => text.split(/[,\s]+/).filter((word) => word !== '');

/** What is asked for at this moment: NeedsOAuthServices and build_oauth_service_ads. */
function requestsIn(macros: Macros, world: SubmitWorld): ServiceRequest[] {
  const enabled = new Map<string, string>();
  for (const name of list(macros.value('use_oauth_services', 'UseOAuthServices'))) caseless(enabled, name);
  const names = new Map<string, { readonly service: string; readonly handle?: string }>();
  const handled = new Set<string>();
  for (const key of macros.keys()) {
    const match = /_oauth_(?:permissions|resource|options)/i.exec(key);
    if (match === null || /^my\./i.test(key)) continue;
    const service = key.slice(0, match.index);
    if (!enabled.has(service.toLowerCase())) continue;
    const tail = key.slice(match.index + match[0].length);
    if (tail === '') {
      caseless(names, service, { service });
      continue;
    }
    // Whatever the first character is, HTCondor takes it for the underscore.
    handled.add(service.toLowerCase());
    const handle = tail.slice(1);
    caseless(names, `${service}*${handle}`, { service, ...(handle !== '' && { handle }) });
  }
  for (const service of enabled.values())
    if (!handled.has(service.toLowerCase())) caseless(names, service, { service });
  return [...names]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { service, handle }]) => {
      const named = (command: string) => `${service}_oauth_${command}${handle === undefined ? '' : `_${handle}`}`;
      const where = macros.place('use_oauth_services', 'UseOAuthServices');
      const words = (command: string, knob: string): string => {
        const value = macros.value(named(command));
        if (value !== '') return value;
        const name = plain(named(command));
        if (world.knob(`${service}_USER_DEFINE_${knob}`)?.startsWith('R'))
          fail('usage', `${where}: ${plain(service)} cannot be used without ${name}`, `add a line: ${name} = …`);
        return world.knob(`${service}_DEFAULT_${knob}`) ?? '';
      };
      const scopes = words('permissions', 'SCOPES');
      const audience = words('resource', 'AUDIENCE');
      const options = words('options', 'OPTIONS');
      return requestOf({ service, handle, scopes, audience, options }, (part) => {
        const own = commandOf[part].map(named).find((name) => macros.raw(name) !== undefined);
        return own === undefined ? where : macros.place(own);
      });
    });
}

/** The commands in which each part of a request is said. */
const commandOf = {
  service: [],
  handle: ['permissions', 'resource', 'options'],
  scopes: ['permissions'],
  audience: ['resource'],
  options: ['options'],
};

/** Puts it in unless it is there in any spelling: HTCondor's sets of names keep the first. */
function caseless<T = string>(set: Map<string, T>, name: string, value = name as T): void {
  const key = name.toLowerCase();
  if (!set.has(key)) set.set(key, value);
}

interface Line {
  readonly text: string;
  readonly number: number;
}

type Lines = Generator<Line, undefined>;

/**
 * The lines of a file with those joined that a backslash continues (config.cpp getline_implementation). A comment does
 * not continue. Inside a continuation one ends it: HTCondor takes in its last character, and so do we, lest a file be
 * read otherwise here than there.
 */
function* logicalLines(text: string): Lines {
  let built = '';
  let number = 0;
  for (const [at, physical] of text.split('\n').entries()) {
    let part = physical.trim();
    if (built === '') number = at + 1;
    const comment = part.startsWith('#') && built === '';
    if (part.startsWith('#') && !comment) part = part.slice(-1);
    built += part;
    if (built.endsWith('\\')) {
      built = built.slice(0, -1);
      if (!comment) continue;
    }
    yield { text: built, number };
    built = '';
  }
  if (built !== '') yield { text: built, number };
}

interface If {
  /** Whether the lines of this branch count, and whether one of its branches has counted already. */
  on: boolean;
  had: boolean;
  /** Whether the lines around it count; if not, no condition in it is looked at. */
  readonly outer: boolean;
  else: boolean;
  /** A queue statement is in it: HTCondor forgets it then, and does not miss its endif. */
  queued: boolean;
}

const deepest = 20;

/** config.cpp, Parse_macros. */
class Reader {
  readonly #macros: Macros;
  readonly #world: SubmitWorld;
  readonly #directory: string | undefined;
  readonly #onQueue: () => void;

  constructor(macros: Macros, world: SubmitWorld, directory: string | undefined, onQueue: () => void) {
    this.#macros = macros;
    this.#world = world;
    this.#directory = directory;
    this.#onQueue = onQueue;
  }

  read(file: string, text: string, depth: number): void {
    const lines = logicalLines(text);
    const ifs: If[] = [];
    const name = plain(file);
    for (let next = lines.next(); next.value !== undefined; next = lines.next()) {
      const at = `${name}, line ${next.value.number}`;
      let line = next.value.text;
      if (line.trim() === '' || line.startsWith('#')) continue;
      // A colon hides what is in an `if` from HTCondor before 8.1.5.
      if (/^:(?:if(?:\s|$))/i.test(line) || (line.startsWith(':') && ifs.length > 0)) line = line.slice(1);
      if (this.#branch(line, ifs, at)) continue;
      if (ifs.at(-1)?.on === false) continue;
      if (this.#statement(line, lines, file, at, depth)) for (const one of ifs) one.queued = true;
    }
    if (ifs.some(({ queued }) => !queued)) fail('usage', `${name}: an if has no endif`);
  }

  /** Whether the line is one of if, elif, else and endif; if so, `ifs` is brought up to date. */
  #branch(line: string, ifs: If[], at: string): boolean {
    const [, word = '', condition = ''] = /^(if|elif|else|endif)(?:\s+(.*))?$/is.exec(line) ?? [];
    const top = ifs.at(-1);
    const keyword = word.toLowerCase();
    if (keyword === '') return false;
    if (keyword === 'if') {
      const outer = top?.on !== false;
      const on = outer && this.#holds(condition, at);
      ifs.push({ on, had: on, outer, else: false, queued: false });
      return true;
    }
    if (top === undefined || (keyword !== 'endif' && top.else)) return fail('usage', `${at}: ${keyword} without an if`);
    if (keyword === 'endif') {
      ifs.pop();
      return true;
    }
    top.else = keyword === 'else';
    top.on = top.outer && !top.had && (top.else || this.#holds(condition, at));
    top.had ||= top.on;
    return true;
  }

  /** config.cpp, Test_config_if_expression. */
  #holds(condition: string, at: string): boolean {
    const expanded = condition.includes('$') ? this.#macros.expand(condition, at, 'reading').trim() : condition.trim();
    const [, not = '', test = ''] = /^(!?)\s*(.*)$/s.exec(expanded) ?? [];
    const value = expanded !== condition.trim() && test === '' ? false : this.#truth(test);
    if (value === undefined)
      fail(
        'usage',
        `${at}: "${plain(condition)}" is not a condition that can be told here`,
        'what can be: true, false, a number, defined NAME, version >= X.Y',
      );
    return not === '' ? value : !value;
  }

  #truth(test: string): boolean | undefined {
    if (/^(?:true|yes|t)$/i.test(test)) return true;
    if (/^(?:false|no|f)$/i.test(test)) return false;
    if (/^-?(?:\d+\.?\d*|\.\d+)(?:e\d+)?$/i.test(test)) return Number(test) !== 0;
    const defined = /^defined(?:\s+([\w./]+))?$/i.exec(test);
    if (defined !== null) {
      const [, name = ''] = defined;
      if (/^(?:[\d.]+|true|false|yes|no|t|f)$/i.test(name)) return true;
      return name !== '' && (this.#macros.raw(name) ?? '') !== '';
    }
    const version = /^version\s*(!=|[<=>]=?)\s*v?(\d+)\.(\d+)(?:\.(\d+))?$/i.exec(test);
    const ours = /(\d+)\.(\d+)\.(\d+)/.exec(this.#world.knob('CONDOR_VERSION') ?? '');
    if (version === null || ours === null) return undefined;
    const [, comparison = '', ...theirs] = version;
    // A version of two numbers is compared by these alone.
    const sign =
      theirs.map((part, i) => Math.sign(Number(ours[i + 1]) - Number(part ?? ours[i + 1]))).find(Boolean) ?? 0;
    if (comparison === '!=') return sign !== 0;
    return sign === ['<', '=', '>'].indexOf(comparison[0] ?? '') - 1 || (sign === 0 && comparison.endsWith('='));
  }

  /** Whether it was a queue statement. */
  #statement(line: string, lines: Lines, file: string, at: string, depth: number): boolean {
    const { head, words, op, between, value } = statementOf(line);
    const keyword = op === ':' ? head.replace(/^@/, '').toLowerCase() : '';
    const command = words === '' && op !== '' && op !== ':' && head.toLowerCase() !== 'queue';
    if (keyword === 'include') this.#include(words, value, file, at, depth);
    else if (keyword === 'use') use(words, line, at);
    else if (keyword === 'error') fail('usage', `${at}: condor_submit stops here: ${plain(value)}`);
    else if (command) this.#command(head, op, between, value, lines, at);
    else if (keyword !== 'warning') {
      this.#queue(line, lines, at, depth);
      return true;
    }
    return false;
  }

  #command(head: string, op: string, between: string, value: string, lines: Lines, at: string): void {
    const name = this.#macros.expand(head, at, 'reading');
    if (op === '=' && name.startsWith('+')) this.#macros.set(`MY.${name.slice(1)}`, value, at);
    else if (op === '=' && name.startsWith('-')) this.#macros.set(`MY.${name.slice(1)}`, '', at);
    else if (!/^[\w./]+$/.test(name)) fail('usage', `${at}: "${plain(name)}" cannot be the name of a command`);
    else if (op === '@=') this.#macros.set(name, hereText(lines, value, at), at);
    else {
      const before = op === '=' ? '' : (this.#macros.raw(name) ?? '');
      this.#macros.set(name, before === '' ? value : before + between + value, at);
    }
  }

  /** Paths start from where condor_submit runs, not from where the file is (config.cpp, Open_macro_source). */
  #include(words: string, target: string, file: string, at: string, depth: number): void {
    const options = /^(?<maybe>ifexists?)?\s*(?<runs>(?:output|command)(?:\s+into\s+(?<into>\S+))?)?$/.exec(
      words,
    )?.groups;
    if (options === undefined) fail('usage', `${at}: condor_submit does not know "include ${plain(words)}"`);
    const { maybe, runs = target.endsWith('|') ? '|' : undefined, into = '' } = options;
    const path = this.#macros.expand(runs === undefined ? target : into, at, 'reading').trim();
    const text = path === '' ? undefined : this.#world.read(within(this.#directory, path));
    if (text !== undefined) {
      if (depth + 1 >= deepest) fail('usage', `${at}: files include one another more than ${deepest} deep`);
      this.read(path, text, depth + 1);
    } else if (runs !== undefined) {
      fail('usage', `${at}: what the program "${plain(target)}" writes cannot be told here`, byName);
    } else if (maybe === undefined) {
      const where = this.#directory ?? 'this directory';
      fail('usage', `${at}: there is no file ${plain(path)}`, `${plain(file)} is read as from ${plain(where)}`);
    }
  }

  #queue(line: string, lines: Lines, at: string, depth: number): void {
    const [statement, args = ''] = /^\s*(?:queue|iter(?:a|at|ate)?)(?:\s+(.*))?$/is.exec(line) ?? [];
    if (statement === undefined)
      fail(
        'usage',
        `${at}: "${plain(line, 60)}" is neither a command nor a queue statement`,
        dagCommand.test(line)
          ? 'this looks like a DAG, not like a submit file'
          : 'condor_submit does not take it either',
      );
    if (depth > 0) fail('usage', `${at}: a queue statement may not stand in an included file`);
    const { names, below } = queueWords(this.#macros.expand(args, at, 'items'));
    this.#macros.items = names;
    this.#onQueue();
    if (below)
      for (let next = lines.next(); !next.value?.text.startsWith(')'); next = lines.next())
        if (next.value === undefined)
          fail('usage', `${at}: the items of this queue statement do not end`, 'put a ) on a line of its own');
  }
}

interface Statement {
  readonly head: string;
  /** What stands between the head and the operator. */
  readonly words: string;
  /** '' where there is none: what is left can only be a queue statement. */
  readonly op: string;
  /** What `x += y` puts between the old value and the new: a blank, `,` for `+,=`, ` && ` for `+&&=`. */
  readonly between: string;
  readonly value: string;
}

function statementOf(line: string): Statement {
  const [, head = '', rest = ''] = /^([^\s=:]*)(.*)$/s.exec(line) ?? [];
  const parts = /^\s*(?<words>[^=:@+]*)(?<op>=|:|@=|\+(?<by>(?<one>[,;|&*])\k<one>?)?=)\s*(?<value>.*)$/s.exec(
    rest,
  )?.groups;
  const { words = '', op = '', by = ' ', value = '' } = parts ?? {};
  return { head, words: words.trim(), op, between: by.length > 1 ? ` ${by} ` : by, value };
}

const byName = 'log in by name: credmon login SERVICE';

/** `use strict` is about warnings. The administrator's templates take arguments and are not expanded here. */
function use(category: string, line: string, at: string): void {
  if (category.toLowerCase() !== 'strict')
    fail('usage', `${at}: what "${plain(line)}" brings in cannot be told here`, byName);
}

const dagCommand =
  /^(?:job|provisioner|final|service|splice|subdag|parent|submit[-_]description|script|vars|category|maxjobs|pre_skip|retry)\s/i;

/** The lines up to `@tag`; comments and empty ones are left out, as they are there. */
function hereText(lines: Lines, tag: string, at: string): string {
  const text: string[] = [];
  for (let next = lines.next(); next.value !== undefined; next = lines.next()) {
    const line = next.value.text;
    if (line === `@${tag}`) return text.join('\n');
    if (line.trim() !== '' && !line.startsWith('#')) text.push(line);
  }
  return fail('usage', `${at}: the text that starts here has no end`, `put @${plain(tag)} on a line of its own`);
}

/** The loop variables of a queue statement, and whether its items are on the lines below it (parse_queue_args). */
function queueWords(args: string): { readonly names: string[]; readonly below: boolean } {
  const [statement, before = '', after = ''] = /^(|.*?[\s(])(?:in|from|matching)(?=[\s(])\s*(.*)$/is.exec(args) ?? [];
  if (statement === undefined) return { names: [], below: false };
  const words = list(before);
  const names = words.slice(words.findLastIndex((word) => !/^[a-z_.][\w.]*$/i.test(word)) + 1);
  const items = after.replace(/^(?:(?:files|dirs|any|table(?:\s*\([^)]*\))?)(?=[\s([])\s*)?(?:\[[^\]]*\]\s*)?/i, '');
  return { names: names.length === 0 ? ['Item'] : names, below: items.startsWith('(') && !items.endsWith(')') };
}

/** What these are while the file is read; while jobs are made each is another (submit_utils.cpp, SubmitMacroDefaults). */
const live = new Map([
  ...['cluster', 'clusterid', 'joblistid'].map((name) => [name, '1'] as const),
  ...['itemindex', 'process', 'procid', 'row', 'step', 'taskid'].map((name) => [name, '0'] as const),
  ['jobid', '1.0'],
  ['node', ''],
]);
const clock = new Set(['year', 'month', 'day', 'submit_time']);
const machine = new Set(['arch', 'opsys', 'opsysver', 'opsysmajorver', 'opsysandver', 'spool']);

/** $F…() comes in many spellings. */
const functions =
  /^(?:ENV|RANDOM_CHOICE|RANDOM_INTEGER|CHOICE|SUBSTR|INT|REAL|STRING|EVAL|BASENAME|DIRNAME|F[pnxdqabfwuPNXDQABFWU]*)$/;

/** Why a macro is expanded: for a value that is asked for, while the file is read, or for a queue statement's items. */
type Purpose = 'asked' | 'reading' | 'items';

interface Macro {
  /** '' for $(…), else the function's name. */
  readonly of: string;
  readonly from: number;
  readonly to: number;
  readonly body: string;
  readonly name: string;
  readonly or: string | undefined;
}

/** The commands and macros of a submit file: to HTCondor they are one thing. */
class Macros {
  /** The loop variables of the queue statement that is looked at. */
  items: readonly string[] = [];
  readonly #world: SubmitWorld;
  readonly #file: string;
  readonly #later: ReadonlySet<string>;
  readonly #table = new Map<string, { readonly key: string; readonly value: string; readonly at: string }>();

  constructor(world: SubmitWorld, file: string, later: readonly string[]) {
    this.#world = world;
    this.#file = file;
    this.#later = new Set(later.map((name) => name.toLowerCase()));
  }

  /** A name keeps the spelling in which it first came. References to itself are expanded at once, others when used. */
  set(name: string, value: string, at: string): void {
    const lower = name.toLowerCase();
    const short = lower.replace(/^submit\./, '');
    const own = ({ of, name }: Macro) => of === '' && [lower, short].includes(name.toLowerCase());
    const key = this.#table.get(lower)?.key ?? name;
    this.#table.set(lower, { key, value: this.#expand(value, own, (macro) => this.#known(macro), at), at });
  }

  /** In the order of condor_submit's table, which decides whose spelling a service has. */
  keys(): string[] {
    return [...this.#table.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { key }]) => key);
  }

  /** The value of the first of these that is set, expanded; '' for none. Throws Failed when it cannot be told. */
  value(...names: string[]): string {
    const name = names.find((one) => this.#found(one) !== undefined);
    return name === undefined ? '' : this.expand(this.#found(name)?.value ?? '', this.place(name), 'asked');
  }

  /** Where the first of these was set, for messages; the file when none was. */
  place(...names: string[]): string {
    const name = names.find((one) => this.#found(one) !== undefined);
    return (name === undefined ? undefined : this.#found(name)?.at) ?? plain(this.#file);
  }

  /** The value as it is while the file is read, unexpanded; undefined for what HTCondor does not know. */
  raw(name: string): string | undefined {
    const lower = name.toLowerCase();
    if (lower === 'submit_file') return this.#found(name)?.value ?? this.#file;
    if (lower === 'islinux') return this.#found(name)?.value ?? '1';
    if (lower === 'iswindows') return this.#found(name)?.value ?? '0';
    if (machine.has(lower)) return this.#found(name)?.value ?? this.#world.knob(name);
    return this.#found(name)?.value ?? live.get(lower);
  }

  expand(text: string, at: string, purpose: Purpose): string {
    const told = (macro: Macro) => {
      if (purpose === 'asked') this.#mustBeSettled(macro, at);
      if (purpose !== 'items') this.#mustBeKnown(macro, at);
      return this.#known(macro);
    };
    const any = (macro: Macro) => macro.of !== '' || macro.body.toUpperCase() !== 'DOLLAR';
    return this.#expand(text, any, told, at).replaceAll(/\$\(DOLLAR\)/gi, '$');
  }

  /** `SUBMIT.x` goes before `x`, as a daemon's own knobs do. */
  #found(name: string) {
    const lower = name.toLowerCase();
    return this.#table.get(`submit.${lower}`) ?? this.#table.get(lower);
  }

  #mustBeSettled({ of, name }: Macro, at: string): void {
    const lower = name.toLowerCase();
    const ofJob = live.has(lower) || this.#later.has(lower) || this.items.some((item) => item.toLowerCase() === lower);
    if (of === '' && ofJob && this.#found(lower) === undefined)
      fail(
        'usage',
        `${at}: $(${plain(name)}) has no value yet when condor_submit asks for credentials`,
        'all jobs of a submit share one credential: say what it is for without this macro',
      );
  }

  #mustBeKnown({ of, name, body }: Macro, at: string): void {
    const byClock = of === '' && clock.has(name.toLowerCase()) && this.#found(name) === undefined;
    if (byClock || (of !== '' && of !== 'ENV'))
      fail('usage', `${at}: what $${of}(${plain(body)}) will be cannot be told here`, 'write the value itself');
  }

  #known({ of, name, or }: Macro): string {
    if (of === 'ENV') return this.#world.env(name) ?? or ?? 'UNDEFINED';
    return of === '' ? this.raw(name) || or || '' : '';
  }

  /** Replaces what `which` holds for, from the left, until none is left: what comes out is expanded too. */
  #expand(text: string, which: (macro: Macro) => boolean, told: (macro: Macro) => string, at: string): string {
    let result = text;
    for (let steps = 0; ; steps++) {
      const macro = nextMacro(result, which);
      if (macro === undefined) return result;
      if (steps >= 1000 || result.length > 100_000)
        fail('usage', `${at}: $(${plain(macro.name)}) is defined by itself`);
      result = result.slice(0, macro.from) + told(macro) + result.slice(macro.to);
    }
  }
}

/**
 * The first macro that `which` holds for (config.cpp, next_config_macro). What is not quite one, HTCondor leaves as it
 * is: `$$(x)`, and `$(x:a-b)` because a hyphen may not stand in a default.
 */
function nextMacro(text: string, which: (macro: Macro) => boolean): Macro | undefined {
  const opening = /\$(\$?\w*)(\(?)/g;
  for (let match = opening.exec(text); match !== null; match = opening.exec(text)) {
    const [, of = '', bracket = ''] = match;
    if (bracket === '') continue;
    opening.lastIndex--;
    if (of !== '' && !functions.test(of)) continue;
    const start = opening.lastIndex + 1;
    const end = of === '' || of === 'ENV' ? endOfName(text, start) : text.indexOf(')', start);
    if (end === -1) {
      opening.lastIndex = start;
      continue;
    }
    const body = text.slice(start, end);
    const colon = of === '' || of === 'ENV' ? body.indexOf(':') : -1;
    const macro: Macro = {
      of,
      from: match.index,
      to: end + 1,
      body,
      name: colon === -1 ? body : body.slice(0, colon),
      or: colon === -1 ? undefined : body.slice(colon + 1),
    };
    if (which(macro)) return macro;
    opening.lastIndex = end;
  }
  return undefined;
}

/** Where the `)` of `NAME)` or `NAME:DEFAULT)` is; -1 when what stands there can be neither. */
function endOfName(text: string, start: number): number {
  let after = false;
  for (let at = start; at < text.length; at++) {
    const char = text[at] ?? '';
    if (char === ')') return at;
    if (char === ':' && !after) {
      after = true;
      continue;
    }
    if (after && char === '(') {
      const close = text.indexOf(')', at);
      if (close === -1) return -1;
      at = close;
    } else if (!/[\w./]/.test(char) && !(after && /[$ ,\\:]/.test(char))) return -1;
  }
  return -1;
}
