import type { Growth } from './flat.js';

/** What a run leaves in its JSON file. */
export interface Kept {
  readonly machine: Readonly<Record<string, unknown>>;
  readonly versions: Readonly<Record<string, unknown>>;
  readonly date: string;
  readonly minutes: number;
  readonly credentials: number;
  readonly life: number;
  readonly minimum: number;
  readonly passed: boolean;
  readonly wrong: readonly string[];
  readonly growth: Readonly<Record<string, Growth>>;
  readonly rows: readonly Readonly<Record<string, number>>[];
}

/** The same for docs/benchmarks.md: a table with so many rows at the most. */
export function markdown(kept: Kept, most = 13): string {
  const { machine, versions, date, minutes, credentials, life, minimum, rows, growth, passed, wrong } = kept;
  const each = Math.max(1, Math.ceil(rows.length / most));
  const shown = rows.filter(({ minute }, n) => Number(minute) % each === 0 || n === 0 || n === rows.length - 1);
  const line = (cells: readonly unknown[]) => `| ${cells.join(' | ')} |`;
  const names = Object.keys(rows[0] ?? {});
  return [
    `${date.slice(0, 16)}Z, ${machine.cores} x ${machine.cpu}, Linux ${machine.kernel}, ${machine.fileSystem}, Node ${versions.node}: ` +
      `${minutes} minutes, ${credentials} credentials, tokens of ${life} s of which ${minimum} s are guaranteed. ` +
      `${passed ? 'Passed.' : `Failed: ${wrong.join('; ')}.`}`,
    '',
    line(names),
    line(names.map(() => '--:')),
    ...shown.map((row) => line(names.map((name) => row[name]))),
    '',
    line(['from the last start on', 'usual', 'grown by', 'verdict']),
    line(['---', '--:', '--:', '---']),
    ...Object.entries(growth).map(([name, { usual, grown, flat }]) =>
      line([name, usual.toFixed(1), grown.toFixed(1), flat ? 'flat' : 'not flat']),
    ),
    '',
  ].join('\n');
}
