import { plain } from './text.js';

/** Of the source; of what it becomes; and of a text, in characters: more steps than the product are never taken. */
const longestSource = 512;
const longestProgram = 512;
const longestText = 256;

/** A regular expression that a text must fit whole. */
export interface Pattern {
  /** Of the groups that catch something. */
  readonly groups: number;
  readonly names: readonly string[];
  /** What the groups caught, by number (0: the whole) and by name; undefined: the text does not fit. */
  fit(text: string): ReadonlyMap<number | string, string> | undefined;
}

/**
 * Reads a regular expression of JavaScript (with the flag `u`), or says why it cannot be used, as the end of a sentence.
 *
 * People choose what some claims say, and RegExp takes exponential time for `(a+)+b`. So the expression becomes a small
 * program that never does the same at the same place twice, which takes linear time; what cannot be had that way
 * (back references, look-around) is refused. What it fits and catches is what RegExp would.
 */
export function readPattern(source: string): Pattern | string {
  if (source.length > longestSource) return `has more than ${longestSource} characters`;
  try {
    new RegExp(source, 'u');
  } catch (thrown) {
    return `is no regular expression: ${plain((thrown as Error).message.split(': ').at(-1))}`;
  }
  try {
    const { tree, groups, names } = parse(source);
    const program: Step[] = [];
    emit(tree, program);
    return { groups, names: [...names.keys()], fit: (text) => run(program, text, groups, names) };
  } catch (thrown) {
    if (thrown instanceof Unusable) return thrown.message;
    throw thrown;
  }
}

class Unusable extends Error {}

type Tree =
  | { readonly kind: 'one'; readonly is: RegExp }
  | { readonly kind: 'edge'; readonly end: boolean }
  | { readonly kind: 'all'; readonly of: readonly Tree[] }
  | { readonly kind: 'any'; readonly of: readonly Tree[] }
  | { readonly kind: 'group'; readonly number: number; readonly of: Tree }
  | {
      readonly kind: 'repeat';
      readonly of: Tree;
      readonly least: number;
      readonly most: number;
      readonly lazy: boolean;
      /** The groups inside, from the first to before the last: each round forgets what they caught. */
      readonly inside: readonly [number, number];
    };

/** Characters that stand for one character, beyond those that stand for themselves. */
const escaped =
  /\\(?:[dDwWsStnrfv]|[\^$\\.*+?()[\]{}|/]|x[\dA-Fa-f]{2}|u(?![dD][89A-Fa-f])[\dA-Fa-f]{4}|[pP]\{[^}]*\})/uy;
const set = /\[(?:[^\]\\]|\\.)*\]/suy;
const repeat = /(?:[*+?]|\{(\d+)(?:(,)(\d*))?\})(\??)/uy;
const opening = /\((?:\?:|\?<([A-Za-z_]\w*)>)?(?!\?)/uy;
const character = /[^\\[({*+?]/uy;

/** Of a source that RegExp has taken. */
function parse(source: string): { tree: Tree; groups: number; names: Map<string, number> } {
  let at = 0;
  let groups = 0;
  const names = new Map<string, number>();
  const take = (what: RegExp): RegExpExecArray | undefined => {
    what.lastIndex = at;
    const found = what.exec(source) ?? undefined;
    at += found?.[0].length ?? 0;
    return found;
  };

  const choice = (): Tree => {
    const of = [sequence()];
    while (source[at] === '|') {
      at++;
      of.push(sequence());
    }
    return of.length === 1 ? (of[0] as Tree) : { kind: 'any', of };
  };
  const sequence = (): Tree => {
    const of: Tree[] = [];
    while (at < source.length && source[at] !== '|' && source[at] !== ')') of.push(repeated());
    return { kind: 'all', of };
  };
  const repeated = (): Tree => {
    const before = groups;
    const of = atom();
    const found = take(repeat);
    if (found === undefined) return of;
    const [whole, low, comma, high, lazy] = found;
    const least = low === undefined ? Number(whole.startsWith('+')) : Number(low);
    const most = low === undefined ? (whole.startsWith('?') ? 1 : Infinity) : comma ? Number(high || Infinity) : least;
    if (mayBeEmpty(of)) throw new Unusable(`repeats something that may be empty (before "${whole}")`);
    return { kind: 'repeat', of, least, most, lazy: lazy === '?', inside: [before, groups] };
  };
  const atom = (): Tree => {
    const rest = source.slice(at, at + 8);
    const open = take(opening);
    if (open !== undefined) {
      const caught = open[0] !== '(?:';
      const number = caught ? ++groups : 0;
      const [, name] = open;
      if (name !== undefined) {
        if (names.has(name)) throw new Unusable(`has two groups of the name ${name}`);
        names.set(name, number);
      }
      const of = choice();
      at++;
      return caught ? { kind: 'group', number, of } : of;
    }
    const found = take(escaped) ?? take(set) ?? take(character);
    if (found === undefined) throw new Unusable(`has something that is not understood here: ${plain(rest)}`);
    const [one] = found;
    if (one === '^' || one === '$') return { kind: 'edge', end: one === '$' };
    return { kind: 'one', is: new RegExp(`^${one}$`, 'u') };
  };

  return { tree: choice(), groups, names };
}

function mayBeEmpty(tree: Tree): boolean {
  switch (tree.kind) {
    case 'one':
      return false;
    case 'edge':
      return true;
    case 'all':
      return tree.of.every(mayBeEmpty);
    case 'any':
      return tree.of.some(mayBeEmpty);
    case 'group':
      return mayBeEmpty(tree.of);
    case 'repeat':
      return tree.least === 0;
  }
}

/** `to` and `or`: places in the program; `to` is tried first. */
type Step =
  | { readonly do: 'one'; readonly is: RegExp }
  | { readonly do: 'edge'; readonly end: boolean }
  | { readonly do: 'mark'; readonly slot: number }
  | { readonly do: 'forget'; readonly from: number; readonly to: number }
  | { readonly do: 'go'; to: number; or?: number };

function emit(tree: Tree, program: Step[]): void {
  if (program.length > longestProgram) throw new Unusable('is too much: it repeats too many things too many times');
  switch (tree.kind) {
    case 'one':
      program.push({ do: 'one', is: tree.is });
      return;
    case 'edge':
      program.push({ do: 'edge', end: tree.end });
      return;
    case 'all':
      for (const one of tree.of) emit(one, program);
      return;
    case 'group':
      program.push({ do: 'mark', slot: 2 * tree.number });
      emit(tree.of, program);
      program.push({ do: 'mark', slot: 2 * tree.number + 1 });
      return;
    case 'any': {
      const ends: { to: number }[] = [];
      for (const one of tree.of.slice(0, -1)) {
        const fork = { do: 'go' as const, to: program.length + 1, or: 0 };
        program.push(fork);
        emit(one, program);
        const end = { do: 'go' as const, to: 0 };
        program.push(end);
        ends.push(end);
        fork.or = program.length;
      }
      for (const one of tree.of.slice(-1)) emit(one, program);
      for (const end of ends) end.to = program.length;
      return;
    }
    case 'repeat': {
      const round = () => {
        const [from, to] = tree.inside;
        if (to > from) program.push({ do: 'forget', from, to });
        emit(tree.of, program);
      };
      for (let done = 0; done < tree.least; done++) round();
      const forks: { to: number; or: number }[] = [];
      const fork = () => {
        const one = { do: 'go' as const, to: program.length + 1, or: 0 };
        forks.push(one);
        program.push(one);
      };
      if (tree.most === Infinity) {
        const again = program.length;
        fork();
        round();
        program.push({ do: 'go', to: again });
      } else {
        for (let done = tree.least; done < tree.most; done++) {
          fork();
          round();
        }
      }
      for (const one of forks) {
        one.or = program.length;
        if (tree.lazy) [one.to, one.or] = [one.or, one.to];
      }
    }
  }
}

/** Positions by slot: 2n is where group n begins, 2n + 1 where it ends. */
type Marks = readonly (number | undefined)[];

function run(
  program: readonly Step[],
  text: string,
  groups: number,
  names: ReadonlyMap<string, number>,
): ReadonlyMap<number | string, string> | undefined {
  const characters = [...text];
  const { length } = characters;
  if (length > longestText) return undefined;
  const been = new Uint8Array((program.length + 1) * (length + 1));
  const open: { step: number; at: number; marks: Marks }[] = [
    { step: 0, at: 0, marks: Array.from({ length: 2 * groups + 2 }, () => undefined) },
  ];
  for (let one = open.pop(); one !== undefined; one = open.pop()) {
    let { step, at, marks } = one;
    for (;;) {
      // What was tried here before did not lead to the end, or its way there is still on the stack, and comes first.
      const place = step * (length + 1) + at;
      if (been[place] === 1) break;
      been[place] = 1;
      const now = program[step];
      if (now === undefined) {
        if (at === length) return caught(characters, marks, groups, names);
        break;
      }
      step++;
      if (now.do === 'one') {
        if (at === length || !now.is.test(characters[at] as string)) break;
        at++;
      } else if (now.do === 'edge') {
        if (at !== (now.end ? length : 0)) break;
      } else if (now.do === 'mark') {
        marks = marks.with(now.slot, at);
      } else if (now.do === 'forget') {
        const { from, to } = now;
        marks = marks.map((mark, slot) => (slot >= 2 * from + 2 && slot < 2 * to + 2 ? undefined : mark));
      } else {
        if (now.or !== undefined) open.push({ step: now.or, at, marks });
        step = now.to;
      }
    }
  }
  return undefined;
}

function caught(
  characters: readonly string[],
  marks: Marks,
  groups: number,
  names: ReadonlyMap<string, number>,
): ReadonlyMap<number | string, string> {
  const found = new Map<number | string, string>([[0, characters.join('')]]);
  for (let number = 1; number <= groups; number++) {
    const [from, to] = [marks[2 * number], marks[2 * number + 1]];
    if (from !== undefined && to !== undefined) found.set(number, characters.slice(from, to).join(''));
  }
  for (const [name, number] of names) {
    const text = found.get(number);
    if (text !== undefined) found.set(name, text);
  }
  return found;
}
