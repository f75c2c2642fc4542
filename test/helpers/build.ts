import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const project = resolve(import.meta.dirname, '../..');

/**
 * The suites run the built programs, so what is built is always what stands in `src`. As root some run them as other users,
 * who may not be able to look into the project's folder (a clone in /root): there the programs are run from a copy that
 * everybody can read. CREDMON_TEST_PROGRAMS tells the tests where.
 */
export default function build(): () => void {
  // Suites that run side by side are told that it stands already.
  if (process.env.CREDMON_TEST_BUILT !== 'yes')
    execFileSync('npm', ['run', '-s', 'build'], { cwd: project, stdio: 'inherit' });
  if (process.getuid?.() !== 0) return () => {};
  const copy = mkdtempSync(join(tmpdir(), 'credmon-built-'));
  chmodSync(copy, 0o755);
  for (const part of ['bin', 'dist', 'package.json'])
    cpSync(join(project, part), join(copy, part), { recursive: true });
  for (const name of ['undici', 'commander', 'keytar', 'valibot']) copyPackage(name, copy);
  process.env.CREDMON_TEST_PROGRAMS = copy;
  return () => rmSync(copy, { recursive: true, force: true });
}

/** Of those that the bundles leave out, and valibot, for tests of a file that is not bundled; keytar may be absent. */
function copyPackage(name: string, to: string): void {
  const from = join(project, 'node_modules', name);
  if (existsSync(from)) cpSync(from, join(to, 'node_modules', name), { recursive: true });
}
