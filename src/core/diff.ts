/** A text file for {@link unifiedDiff}; `text` undefined: there is none. */
export interface Side {
  readonly name: string;
  readonly text: string | undefined;
}

type Step = { readonly sign: ' ' | '-' | '+'; readonly line: string };

/** Lines around each change. */
const context = 3;

/** The unified diff of two small files, as diff -u prints it; [] where they are the same. For files of a few hundred lines. */
export function unifiedDiff(before: Side, after: Side): readonly string[] {
  if (before.text === after.text) return [];
  const steps = between(linesOf(before.text), linesOf(after.text));
  const title = (mark: string, { name, text }: Side) => `${mark} ${text === undefined ? '/dev/null' : name}`;
  return [title('---', before), title('+++', after), ...hunks(steps)];
}

const noNewline = '\\ No newline at end of file';

/** Lines; one that no newline ends is another line than the same with one. */
function linesOf(text: string | undefined): readonly string[] {
  if (text === undefined || text === '') return [];
  const lines = text.split('\n');
  const last = lines.pop();
  return last === '' ? lines : [...lines, `${last}\n${noNewline}`];
}

/** By the longest common subsequence. */
function between(old: readonly string[], young: readonly string[]): readonly Step[] {
  const width = young.length + 1;
  const longest = new Uint32Array((old.length + 1) * width);
  const at = (i: number, j: number) => longest[i * width + j] ?? 0;
  for (let i = old.length - 1; i >= 0; i--)
    for (let j = young.length - 1; j >= 0; j--)
      longest[i * width + j] = old[i] === young[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
  const steps: Step[] = [];
  let [i, j] = [0, 0];
  while (i < old.length || j < young.length) {
    const [a, b] = [old[i], young[j]];
    if (a !== undefined && a === b) {
      steps.push({ sign: ' ', line: a });
      i++;
      j++;
    } else if (a !== undefined && (b === undefined || at(i + 1, j) >= at(i, j + 1))) {
      steps.push({ sign: '-', line: a });
      i++;
    } else {
      steps.push({ sign: '+', line: b ?? '' });
      j++;
    }
  }
  return steps;
}

function hunks(steps: readonly Step[]): readonly string[] {
  const lines: string[] = [];
  const changed = steps.flatMap(({ sign }, at) => (sign === ' ' ? [] : [at]));
  for (let k = 0; k < changed.length; ) {
    const from = Math.max(0, (changed[k] ?? 0) - context);
    while (k + 1 < changed.length && (changed[k + 1] ?? 0) - (changed[k] ?? 0) <= 2 * context) k++;
    const to = Math.min(steps.length, (changed[k] ?? 0) + context + 1);
    k++;
    const part = steps.slice(from, to);
    lines.push(
      `@@ -${range(steps, part, from, '+')} +${range(steps, part, from, '-')} @@`,
      ...part.map(({ sign, line }) => sign + line),
    );
  }
  return lines.flatMap((line) => line.split('\n'));
}

/** `start,count` in the file whose lines are all but those of `other`. */
function range(steps: readonly Step[], part: readonly Step[], from: number, other: '+' | '-'): string {
  const count = part.filter(({ sign }) => sign !== other).length;
  const start = steps.slice(0, from).filter(({ sign }) => sign !== other).length + (count === 0 ? 0 : 1);
  return count === 1 ? `${start}` : `${start},${count}`;
}
