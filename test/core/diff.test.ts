import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import { unifiedDiff } from '../../src/core/diff.js';

const diff = (before: string | undefined, after: string | undefined) =>
  unifiedDiff({ name: 'f', text: before }, { name: 'f', text: after });

test('shows what changes with three lines around it, and nothing where nothing does', () => {
  const lines = [...'abcdefghij'].map((c) => `${c}\n`);
  expect(diff(lines.join(''), lines.join(''))).toEqual([]);
  expect(diff(lines.join(''), lines.with(4, 'E\n').join(''))).toEqual([
    ...['--- f', '+++ f', '@@ -2,7 +2,7 @@', ' b', ' c', ' d', '-e', '+E', ' f', ' g', ' h'],
  ]);
  expect(diff(undefined, 'a\n')).toEqual(['--- /dev/null', '+++ f', '@@ -0,0 +1 @@', '+a']);
  expect(diff('a', 'a\n')).toContain('\\ No newline at end of file');
});

const patch = (() => {
  try {
    return execFileSync('patch', ['--version'], { stdio: 'pipe' }).length > 0;
  } catch {
    return false;
  }
})();

test.runIf(patch)('patch(1) makes the one of the other with it (skipped where there is none)', () => {
  const dir = mkdtempSync(join(tmpdir(), 'credmon-diff-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const text = fc.array(fc.constantFrom('a', 'b', 'c', '', '# x'), { maxLength: 30 });
  fc.assert(
    fc.property(text, text, (before, after) => {
      const [from, to] = [before, after].map((lines) => lines.map((line) => `${line}\n`).join(''));
      if (from === to) return;
      writeFileSync(join(dir, 'f'), from ?? '');
      const input = `${diff(from, to).join('\n')}\n`;
      execFileSync('patch', ['-s', '-o', join(dir, 'g'), join(dir, 'f')], { input });
      expect(execFileSync('cat', [join(dir, 'g')]).toString()).toBe(to);
    }),
    { numRuns: 40 },
  );
});
