import { readFileSync, statfsSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

export type Row = Readonly<Record<string, string | number | boolean>>;

/** What a bench leaves in its JSON file. */
export interface Kept {
  readonly machine: Row;
  readonly versions: Row;
  /** ISO 8601. */
  readonly date: string;
  readonly rows: readonly Row[];
  /** What is the bench's own, such as how it was called. */
  readonly [more: string]: unknown;
}

/** statfs(2) f_type of what a bench is likely to run on. */
const fileSystems: Readonly<Record<number, string>> = {
  61267: 'ext4',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  16914836: 'tmpfs',
  2035054128: 'overlayfs',
  26985: 'nfs',
};

function machine(dir: string): Row {
  const list = cpus();
  return {
    cpu: list[0]?.model ?? 'unknown',
    cores: list.length,
    memoryMb: Math.round(totalmem() / 2 ** 20),
    kernel: release(),
    fileSystem: fileSystems[statfsSync(dir).type] ?? 'unknown',
  };
}

function versions(): Row {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
  const of = (name: string) => JSON.parse(readFileSync(`node_modules/${name}/package.json`, 'utf8')).version;
  return { node: process.version, credmon: version, undici: of('undici'), 'openid-client': of('openid-client') };
}

/** One line for people: what it was measured on. `dir`: where the files were. */
export function heading(dir = '.'): string {
  const { cpu, cores, kernel, fileSystem } = machine(dir);
  return `node ${process.version}, ${cores} x ${cpu}, Linux ${kernel}, ${fileSystem}, ${new Date().toISOString().slice(0, 16)}Z`;
}

/** For test/bench/docs.ts, where a file was asked for with --json. */
export function keep(
  file: string | undefined,
  rows: readonly Row[],
  more: Readonly<Record<string, unknown>> = {},
  dir = '.',
): Kept {
  const all = { machine: machine(dir), versions: versions(), date: new Date().toISOString(), ...more, rows };
  if (file !== undefined) writeFileSync(file, `${JSON.stringify(all, null, 2)}\n`);
  return all;
}

/** The same for docs/benchmarks.md, where a file was asked for with --markdown: what it was measured on, and a table. */
export function keepTable(
  file: string | undefined,
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  { dir = '.', notes = '' }: { readonly dir?: string; readonly notes?: string } = {},
): void {
  if (file === undefined) return;
  const line = (cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`;
  const table = [line(head), line(head.map((_, n) => (n === 0 ? '---' : '--:'))), ...rows.map(line)];
  const { undici, 'openid-client': client } = versions();
  const about = `${heading(dir)}, undici ${undici}, openid-client ${client}. ${notes}`.trim();
  writeFileSync(file, `${about}\n\n${table.join('\n')}\n`);
}
