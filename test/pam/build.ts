import { execFileSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';

export const source = resolve(import.meta.dirname, '../../pam');

const inPath = (name: string): boolean =>
  (process.env.PATH ?? '').split(delimiter).some((dir) => {
    try {
      accessSync(join(dir, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });

const libraries = ['/usr/lib', '/usr/lib64'];
const multiarch = existsSync('/usr/lib') ? readdirSync('/usr/lib').filter((name) => name.includes('-linux-')) : [];

/** Where libpam-wrapper has it, in any distribution. */
export const wrapper = [...libraries, ...multiarch.map((name) => join('/usr/lib', name))]
  .map((dir) => join(dir, 'libpam_wrapper.so'))
  .find(existsSync);

/**
 * Before `env LD_PRELOAD=` and pamtester: one at a time on this machine, whoever runs it, since two of libpam-wrapper that begin
 * together take each other's place in /tmp. Its library is as good a lock as any, and the lock is not to be preloaded.
 */
export const alone = ['flock', '-F', wrapper ?? ''] as const;

const needs: readonly (readonly [there: boolean, name: string])[] = [
  [inPath('cc') || inPath('gcc'), 'gcc'],
  [inPath('make'), 'make'],
  [existsSync('/usr/include/security/pam_modules.h'), 'libpam0g-dev'],
  [inPath('pamtester'), 'pamtester'],
  [inPath('flock'), 'util-linux'],
  [wrapper !== undefined, 'libpam-wrapper'],
];

/** The packages that are not installed; the module is tried where there are none. */
export const missing = needs.filter(([there]) => !there).map(([, name]) => name);

/** What the tests need. */
const needed = [
  'all',
  'preload',
  'unit',
  ...(process.env.CREDMON_TEST_PAM_UNDER === 'sanitizers' ? ['sanitized'] : []),
];

/** `make -C pam` of these targets, not in the source tree. Returns where. */
export function make(targets: readonly string[] = needed, variables: readonly string[] = []): string {
  const dir = mkdtempSync(join(tmpdir(), 'credmon-pam-built-'));
  const compiler = inPath('cc') ? [] : ['CC=gcc'];
  execFileSync('make', ['-s', '-C', source, `BUILD=${dir}`, ...compiler, ...variables, ...targets], {
    stdio: 'inherit',
  });
  return dir;
}

/** Once for all tests of a run: vitest's global set-up. CREDMON_TEST_PAM tells them where. */
export default function build(): () => void {
  if (missing.length > 0) return () => {};
  const dir = make();
  process.env.CREDMON_TEST_PAM = dir;
  return () => rmSync(dir, { recursive: true, force: true });
}
