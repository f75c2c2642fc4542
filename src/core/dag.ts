import { fail, failureOf } from './failure.js';
import type { ServiceRequest } from './request.js';
import { type SubmitWorld, sameRequest, submitRequests, type Variables, within } from './submit.js';
import { plain } from './text.js';

/**
 * Reads a DAG file as DAGMan does (dag_parser.cpp; dagman's parse.cpp and dagman_submit.cpp), as far as it says which
 * jobs there will be: what is needed to log in once before days of them, since DAGMan has nobody to ask.
 */

/** A node that submits a job. */
export interface DagNode {
  /** As DAGMan names it, with `SPLICE+` before it in a splice; `NODE/` before it in the DAG of a SUBDAG node. */
  readonly name: string;
  /** Where its job is submitted; absent: where the whole DAG is. */
  readonly directory?: string;
  /** The submit file, or what messages call the description that stands in the DAG itself. */
  readonly file: string;
  /** The description, when it stands in the DAG itself. */
  readonly text?: string;
  /** Macros set before the first line of the submit file (with JOB, which DAGMan sets), and those after the last. */
  readonly before: Variables;
  readonly after: Variables;
}

export interface Dag {
  /** In the order of the file, without those that are NOOP or already DONE. */
  readonly nodes: readonly DagNode[];
  /** One sentence for each thing that is not there yet, such as a sub-DAG that another node may write. */
  readonly unknown: readonly string[];
}

/** A request, and the names of all nodes that make it. */
export interface NodeRequest {
  readonly request: ServiceRequest;
  readonly nodes: readonly string[];
}

const deepest = 50;
/** Splices in splices double at every level; no workflow that anyone runs has so many. */
const mostFiles = 100_000;

/**
 * The nodes of a DAG file, with those of its splices, included files and sub-DAGs. Splices and included files must be
 * there, as for condor_submit_dag; a sub-DAG need not be. Throws Failed('usage') with file and line.
 */
export function readDag(file: string, world: SubmitWorld, directory?: string): Dag {
  const nodes: DagNode[] = [];
  const unknown: string[] = [];
  collect({ file, directory, prefix: '', from: 'the DAG' }, { world, open: [], files: 0 }, nodes, unknown);
  return { nodes, unknown };
}

/**
 * What the nodes ask for, each different request once, in the order in which it first comes. Two that differ only in
 * their scopes both stay: whoever asks must be told that one credential cannot be both. What is wrong with a single
 * node's submit file, or that it is not there, is in `unknown`, and the others count all the same.
 */
export function requestsOf(
  dag: Dag,
  world: SubmitWorld,
): { readonly requests: readonly NodeRequest[]; readonly unknown: readonly string[] } {
  const requests = new Map<string, { readonly request: ServiceRequest; readonly nodes: string[] }>();
  const troubles = new Map<string, string[]>();
  const texts = new Map<string, string | undefined>();
  const read = (path: string) => {
    if (!texts.has(path)) texts.set(path, world.read(path));
    return texts.get(path);
  };
  const asked = (node: DagNode): ServiceRequest[] => {
    const file = node.text === undefined ? within(node.directory, node.file) : node.file;
    const text = node.text ?? read(file) ?? fail('usage', `${plain(file)} is not there`);
    return submitRequests(
      { ...node, file, text, later },
      { read, env: (name) => world.env(name), knob: (name) => world.knob(name) },
    );
  };
  for (const node of dag.nodes) {
    try {
      for (const request of asked(node)) {
        const entry = requests.get(sameRequest(request));
        if (entry === undefined) requests.set(sameRequest(request), { request, nodes: [node.name] });
        else entry.nodes.push(node.name);
      }
    } catch (error) {
      const what = failureOf(error)?.what;
      if (what === undefined) throw error;
      const names = troubles.get(what);
      if (names === undefined) troubles.set(what, [node.name]);
      else names.push(node.name);
    }
  }
  const unknown = [...troubles].map(([what, names]) => `${what} (node ${several(names)})`);
  return { requests: [...requests.values()], unknown: [...dag.unknown, ...unknown] };
}

/** Macros that DAGMan sets anew at every submit (dagman_submit.cpp, InitVars). */
const later = ['RETRY', 'DAG_STATUS', 'FAILED_COUNT', 'DAG_PARENT_NAMES'];

const several = (names: readonly string[]): string => {
  const more = names.length > 4 ? names.length - 3 : 0;
  const shown = more === 0 ? names : names.slice(0, 3);
  return `${shown.map((name) => plain(name)).join(', ')}${more === 0 ? '' : ` and ${more} more`}`;
};

interface Reading {
  readonly world: SubmitWorld;
  /** The files that are being read, outermost first. */
  readonly open: string[];
  files: number;
}

interface Draft {
  readonly kind: string;
  readonly at: string;
  readonly file: string;
  readonly directory: string | undefined;
  readonly text: string | undefined;
  readonly noop: boolean;
  done: boolean;
  readonly before: Map<string, string>;
  readonly after: Map<string, string>;
}

/** What one DAG holds: its own file, those that it includes, and its splices. */
interface Part {
  readonly nodes: Map<string, Draft>;
  readonly descriptions: Map<string, { readonly text: string; readonly at: string }>;
}

/** The DAG that a node runs: one of SUBDAG, and of FINAL when its submit file is that of a DAG. */
function subdag({ kind, file }: Draft): string | undefined {
  if (kind === 'SUBDAG') return file;
  return kind === 'FINAL' ? /^(.+)\.condor\.sub$/s.exec(file)?.[1] : undefined;
}

interface Root {
  readonly file: string;
  readonly directory: string | undefined;
  /** Before the names of its nodes. */
  readonly prefix: string;
  /** What names it, for messages. */
  readonly from: string;
}

/** Puts the nodes of a DAG and of its sub-DAGs into `nodes`, and the sub-DAGs that are not there into `unknown`. */
function collect(root: Root, reading: Reading, nodes: DagNode[], unknown: string[]): void {
  const { file, directory, prefix, from } = root;
  const { nodes: drafts, descriptions } = load(file, directory, reading, from);
  // While its sub-DAGs are read, it is still being read itself.
  reading.open.push(within(directory, file));
  for (const [name, node] of drafts) {
    if (node.noop || node.done) continue;
    const inner = subdag(node);
    if (inner !== undefined) {
      const path = within(node.directory, inner);
      const next = { file: inner, directory: node.directory, prefix: `${prefix}${name}/`, from: node.at };
      if (reading.world.read(path) !== undefined) collect(next, reading, nodes, unknown);
      else unknown.push(`${node.at}: ${plain(path)} is not there (node ${plain(prefix + name)})`);
      continue;
    }
    const description = node.text === undefined ? descriptions.get(node.file) : { text: node.text, at: node.at };
    nodes.push({
      name: prefix + name,
      ...(node.directory !== undefined && { directory: node.directory }),
      file: description === undefined ? node.file : `the description at ${description.at}`,
      ...(description !== undefined && { text: description.text }),
      before: { JOB: name, ...Object.fromEntries(node.before) },
      after: Object.fromEntries(node.after),
    });
  }
  reading.open.pop();
}

/** A whole file: first all that makes nodes, then all that is about nodes, as DAGMan does. */
function load(file: string, directory: string | undefined, reading: Reading, from: string, part?: Part): Part {
  const path = within(directory, file);
  const text = reading.world.read(path);
  if (text === undefined)
    fail('usage', `${from}: there is no file ${plain(path)}`, 'paths in a DAG start from where condor_submit_dag runs');
  if (reading.open.includes(path)) fail('usage', `${from}: ${plain(path)} is within itself`);
  if (reading.open.length >= deepest || reading.files >= mostFiles)
    fail('usage', `${from}: more DAG files within one another than can be read here`);
  reading.files++;
  reading.open.push(path);
  const into = part ?? { nodes: new Map(), descriptions: new Map() };
  const commands = [...commandsIn(path, text)];
  for (const command of commands) makes(command, directory, reading, into);
  for (const command of commands) changes(command, directory, reading, into);
  reading.open.pop();
  return into;
}

function makes(command: Command, directory: string | undefined, reading: Reading, part: Part): void {
  const { keyword, words, at, inline } = command;
  if (keyword === 'SUBMIT_DESCRIPTION') {
    const name = words.must('a name');
    if (inline === undefined) fail('usage', `${at}: this description has no text`);
    part.descriptions.set(name, { text: inline, at });
  } else if (keyword === 'SPLICE') {
    const name = words.must('a name');
    const file = words.must('a DAG file');
    const where = within(directory, options(words, at).directory ?? '');
    const splice = load(file, where || undefined, reading, at);
    for (const [inner, node] of splice.nodes) part.nodes.set(`${name}+${inner}`, node);
    for (const [of, text] of splice.descriptions) if (!part.descriptions.has(of)) part.descriptions.set(of, text);
  } else if (nodeKinds.has(keyword)) {
    if (keyword === 'SUBDAG' && words.next().toUpperCase() !== 'EXTERNAL')
      fail('usage', `${at}: SUBDAG must be followed by EXTERNAL`);
    const name = words.must('a name');
    const file = inline === undefined ? words.must('a submit file') : '';
    const { directory: own, noop, done } = options(words, at);
    if (part.nodes.has(name)) fail('usage', `${at}: there is another node ${plain(name)}`);
    part.nodes.set(name, {
      kind: keyword,
      at,
      file,
      directory: own === undefined ? directory : within(directory, own),
      text: inline,
      noop,
      // Only jobs and sub-DAGs can be done beforehand; DAGMan warns of the others and runs them.
      done: done && (keyword === 'JOB' || keyword === 'SUBDAG'),
      before: new Map(),
      after: new Map(),
    });
  }
}

function changes(command: Command, directory: string | undefined, reading: Reading, part: Part): void {
  const { keyword, words, at } = command;
  if (keyword === 'INCLUDE') {
    load(words.must('a DAG file'), directory, reading, at, part);
  } else if (keyword === 'DONE') {
    const node = part.nodes.get(words.must('a node'));
    if (node?.kind === 'JOB' || node?.kind === 'SUBDAG') node.done = true;
  } else if (keyword === 'VARS') {
    const name = words.must('a node');
    const where = words.word('PREPEND') ? 'before' : words.word('APPEND') ? 'after' : undefined;
    const usual = /^(?:t|true|yes|1)$/i.test(reading.world.knob('DAGMAN_DEFAULT_APPEND_VARS') ?? '')
      ? 'after'
      : 'before';
    const pairs = words.pairs();
    if (pairs.length === 0) fail('usage', `${at}: VARS needs NAME="VALUE"`);
    for (const node of meant(name, part))
      for (const [key, value] of pairs) {
        // A second value replaces the first where that was put.
        const known = [node.before, node.after].find((vars) => vars.has(key));
        (known ?? node[where ?? usual]).set(key, value);
      }
  }
}

/** ALL_NODES are those of the same DAG but the FINAL one. Of a node that is not there DAGMan itself complains. */
function meant(name: string, { nodes }: Part): Draft[] {
  const one = nodes.get(name);
  if (name.toUpperCase() !== 'ALL_NODES') return one === undefined ? [] : [one];
  return [...nodes].filter(([of, { kind }]) => kind !== 'FINAL' && !of.includes('+')).map(([, node]) => node);
}

interface Options {
  readonly directory: string | undefined;
  readonly noop: boolean;
  readonly done: boolean;
}

function options(words: Words, at: string): Options {
  let directory: string | undefined;
  let noop = false;
  let done = false;
  for (let word = words.next(); word !== ''; word = words.next()) {
    const keyword = word.toUpperCase();
    if (keyword === 'DIR') directory = words.must('a directory');
    else if (keyword === 'NOOP') noop = true;
    else if (keyword === 'DONE') done = true;
    else fail('usage', `${at}: "${plain(word)}" cannot stand here`, 'what can: DIR DIRECTORY, NOOP, DONE');
  }
  return { directory, noop, done };
}

const nodeKinds = new Set(['JOB', 'FINAL', 'PROVISIONER', 'SERVICE', 'SUBDAG']);

/** All commands there are (dag_commands.cpp, KEYWORD_MAP), and DATA, which old DAGs have. */
const keywords = new Set([
  ...nodeKinds,
  ...'SPLICE INCLUDE SUBMIT_DESCRIPTION CATEGORY PARENT WEAK SCRIPT RETRY ABORT_DAG_ON VARS PRIORITY PRE_SKIP'.split(
    ' ',
  ),
  ...'TOLERANCE DONE MAXJOBS CONFIG DOT NODE_STATUS_FILE JOBSTATE_LOG SAVE_POINT_FILE SET_JOB_ATTR'.split(' '),
  ...'ENV REJECT CONNECT PIN_IN PIN_OUT DATA'.split(' '),
]);

interface Command {
  /** In capitals, with underscores. */
  readonly keyword: string;
  /** What follows it; an inline description is not among them. */
  readonly words: Words;
  readonly at: string;
  readonly inline: string | undefined;
}

/** dag_parser.cpp, DagParser::next. Comments and empty lines are passed over even inside a continued line. */
function* commandsIn(path: string, text: string): Generator<Command> {
  const file = plain(path);
  const lines = text
    .split('\n')
    .map((line, i) => ({ line: line.trim(), at: `${file}, line ${i + 1}` }))
    .filter(({ line }) => line !== '' && !/^(?:#|\/\/)/.test(line))
    .values();
  for (let next = lines.next(); !next.done; next = lines.next()) {
    const { at } = next.value;
    let { line } = next.value;
    while (line.endsWith('\\')) line = `${line.slice(0, -1)} ${lines.next().value?.line ?? ''}`;
    const words = new Words(line, at);
    const keyword = words.next().toUpperCase().replaceAll('-', '_');
    if (!keywords.has(keyword))
      fail('usage', `${at}: "${plain(line, 60)}" is not a command of a DAG`, 'a submit file is for condor_submit');
    if (keyword !== 'SUBMIT_DESCRIPTION' && (!nodeKinds.has(keyword) || keyword === 'SUBDAG')) {
      yield { keyword, words, at, inline: undefined };
      continue;
    }
    const [, head = '', start = '', tag = ''] = /^(\S+\s+\S+\s+)(\{|@=(\S*))\S*/.exec(line) ?? [];
    if (start === '') {
      yield { keyword, words, at, inline: undefined };
      continue;
    }
    const end = start === '{' ? '}' : `@${tag}`;
    let inline = '';
    let last = lines.next();
    for (; !last.done && last.value.line !== end && !last.value.line.startsWith(`${end} `); last = lines.next())
      inline += `${last.value.line}\n`;
    if (last.done || end === '@')
      fail('usage', `${at}: the description that starts here has no end`, `end it with ${end}`);
    const rest = new Words(`${head}${last.value.line.slice(end.length)}`, at);
    rest.next();
    yield { keyword, words: rest, at, inline };
  }
}

/** dag_parser.cpp, DagLexer. */
class Words {
  readonly #text: string;
  readonly #at: string;
  #from = 0;

  constructor(text: string, at: string) {
    this.#text = text;
    this.#at = at;
  }

  /** The next word, '' at the end. Quotes keep blanks in it, and inside them a backslash takes the next character as it is. */
  next(keepQuotes = false): string {
    let word = '';
    let quote = '';
    for (; this.#from < this.#text.length; this.#from++) {
      const char = this.#text[this.#from] ?? '';
      if (quote !== '' && char === '\\') word += this.#text[++this.#from] ?? '';
      else if (quote !== '' && char !== quote) word += char;
      else if (quote === '' && /[ \t\r]/.test(char)) {
        if (word !== '') break;
      } else if (/["']/.test(char)) {
        quote = quote === '' ? char : '';
        if (keepQuotes) word += char;
      } else word += char;
    }
    if (quote !== '') fail('usage', `${this.#at}: a quotation has no end`);
    return word;
  }

  must(what: string): string {
    return this.next() || fail('usage', `${this.#at}: ${what} is missing`);
  }

  /** Takes the next word if it is this one. */
  word(word: string): boolean {
    const from = this.#from;
    if (this.next(true).toUpperCase() === word) return true;
    this.#from = from;
    return false;
  }

  /** `NAME=VALUE` until the end, blanks around the `=` or not. */
  pairs(): [name: string, value: string][] {
    const pairs: [string, string][] = [];
    for (;;) {
      const [all = '', name = ''] = /^\s*([^\s="']+)\s*=\s*/.exec(this.#text.slice(this.#from)) ?? [];
      if (all === '') break;
      this.#from += all.length;
      const value = this.#text[this.#from] === '=' ? '' : this.next(true);
      if (value === '') fail('usage', `${this.#at}: ${plain(name)} has no value`);
      pairs.push([name.replace(/^\+/, 'MY.'), /^["']/.test(value) ? value.slice(1, -1) : value]);
    }
    const rest = this.#text.slice(this.#from).trim();
    if (rest !== '') fail('usage', `${this.#at}: "${plain(rest, 60)}" is not NAME="VALUE"`);
    return pairs;
  }
}
