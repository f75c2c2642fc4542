import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readSecret } from '../../src/config/secret.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'secret-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function file(content: string, mode = 0o600): string {
  const path = join(directory, 'client');
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}
const refusal = (what: string | RegExp) => ({
  failure: { kind: 'config', what: expect.stringMatching(what), hint: expect.any(String) },
});

describe('checklist 15: a client secret', () => {
  test.each([
    ['alone', 's3cret'],
    ['with a newline', 's3cret\n'],
    ['with blanks around it', '  s3cret \t\r\n'],
    ['with other lines after it', 's3cret\n# comment\n'],
    ['behind a byte order mark', '\ufeffs3cret\n'],
  ])('is the first line, trimmed: %s', async (_, content) => {
    expect(await readSecret(file(content))).toBe('s3cret');
  });

  test.each([0o400, 0o600, 0o700])('may have mode %o', async (mode) => {
    expect(await readSecret(file('s3cret', mode))).toBe('s3cret');
  });

  test.each([
    [0o640, '0640'],
    [0o604, '0604'],
    [0o644, '0644'],
    [0o610, '0610'],
    [0o602, '0602'],
    [0o4755, '4755'],
  ])('that is open to others is refused with its mode: %o', async (mode, shown) => {
    const path = file('s3cret', mode);
    const thrown = await readSecret(path).catch((error: unknown) => error);
    expect(thrown).toMatchObject(refusal(`open to others \\(mode ${shown}\\)`));
    expect(thrown).toMatchObject({ failure: { hint: `run: chmod 0400 ${path}` } });
    expect(JSON.stringify(thrown)).not.toContain('s3cret');
  });

  test.each([
    ['nothing', ''],
    ['a newline', '\n'],
    ['an empty first line', '\ns3cret\n'],
    ['blanks', ' \t \n'],
  ])('is not %s', async (_, content) => {
    await expect(readSecret(file(content))).rejects.toMatchObject(refusal(/ is empty$/));
  });

  test('is not ten megabytes', async () => {
    await expect(readSecret(file('x'.repeat(10 * 1024 * 1024)))).rejects.toMatchObject(
      refusal(/too large for a secret \(10485760 bytes\)/),
    );
  });

  test('is not a directory, a pipe or a device, and is not waited for', async () => {
    mkdirSync(join(directory, 'folder'), { mode: 0o700 });
    execFileSync('mkfifo', ['-m', '600', join(directory, 'pipe')]);
    for (const name of [join(directory, 'folder'), join(directory, 'pipe'), '/dev/zero'])
      await expect(readSecret(name)).rejects.toMatchObject(refusal(/ is not a plain file$/));
  });

  test('that is not there is told of by name', async () => {
    const path = join(directory, 'nowhere');
    await expect(readSecret(path)).rejects.toMatchObject(refusal(`${path} cannot be read \\(ENOENT\\)`));
    symlinkSync(path, join(directory, 'dangling'));
    await expect(readSecret(join(directory, 'dangling'))).rejects.toMatchObject(refusal('ENOENT'));
  });

  test('that may not be read is told of', async () => {
    const path = file('s3cret', 0o000);
    // Root may read all: for this it is nobody.
    const root = process.getuid?.() === 0;
    if (root) process.seteuid?.(65534);
    try {
      await expect(readSecret(path)).rejects.toMatchObject({
        failure: { kind: 'config', what: expect.stringContaining('EACCES'), hint: expect.stringContaining('broker') },
      });
    } finally {
      if (root) process.seteuid?.(0);
    }
  });
});
