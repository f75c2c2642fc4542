import { rmSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { build } from 'esbuild';

const made = new Map<string, Promise<string>>();

/** A program in TypeScript, by its path in the project, as a file that node can run. Run from the project's folder. */
export function bundled(path: string): Promise<string> {
  const known = made.get(path);
  if (known) return known;
  const outfile = resolve('.build/bench/kit', `${basename(path, '.ts')}-${process.pid}.mjs`);
  const out = build({
    entryPoints: [resolve(path)],
    outfile,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'warning',
  }).then(() => outfile);
  process.once('exit', () => rmSync(outfile, { force: true }));
  made.set(path, out);
  return out;
}
