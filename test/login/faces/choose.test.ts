import { readFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { askYesNo } from '../../../src/login/faces/ask.js';
import { chooseFace, type FaceOptions, openFace, wantsColour } from '../../../src/login/faces/index.js';
import { code, manualClock, starting } from './states.js';

const never = new AbortController().signal;
const tty = { isTTY: true };
const env = { TERM: 'xterm-256color' };

describe('the face', () => {
  test.each([
    ['a terminal', { stdout: tty, env }, 'ink'],
    ['a pipe', { stdout: {}, env }, 'plain'],
    ['a dumb terminal', { stdout: tty, env: { TERM: 'dumb' } }, 'plain'],
    ['a terminal without a name', { stdout: tty, env: {} }, 'plain'],
    ['CI', { stdout: tty, env: { ...env, CI: 'true' } }, 'plain'],
    ['CI=false', { stdout: tty, env: { ...env, CI: 'false' } }, 'ink'],
    ['--plain', { stdout: tty, env, plain: true }, 'plain'],
    ['--json', { stdout: tty, env, json: true }, 'json'],
    ['--json in a pipe', { stdout: {}, env, json: true, plain: true }, 'json'],
  ] as const)('for %s', (_, at, kind) => {
    expect(chooseFace(at)).toBe(kind);
  });

  test('has colours unless NO_COLOR is set to something', () => {
    expect(wantsColour({})).toBe(true);
    expect(wantsColour({ NO_COLOR: '' })).toBe(true);
    expect(wantsColour({ NO_COLOR: '1' })).toBe(false);
  });
});

function streams(out: { readonly isTTY: boolean }, err: { readonly isTTY: boolean }) {
  const written = { stdout: '', stderr: '' };
  const stream = (name: keyof typeof written, { isTTY }: { readonly isTTY: boolean }) => ({
    isTTY,
    columns: 80,
    rows: 40,
    write: (text: string) => {
      written[name] += text;
    },
  });
  const options = {
    stdin: { isTTY: false },
    stdout: stream('stdout', out),
    stderr: stream('stderr', err),
    env,
    clock: manualClock(),
    canOpen: false,
    onQuit() {},
  } as unknown as FaceOptions;
  return { options, written };
}

describe('what is said goes', () => {
  test('as JSON to stdout', async () => {
    const { options, written } = streams({ isTTY: false }, { isTTY: true });
    (await openFace({ ...options, json: true })).show(starting);
    expect(written.stderr).toBe('');
    expect(JSON.parse(written.stdout)).toMatchObject({ event: 'starting' });
  });

  test('in plain words to the terminal, where stdout is none', async () => {
    const { options, written } = streams({ isTTY: false }, { isTTY: true });
    const face = await openFace(options);
    face.show(code);
    expect(written.stdout).toBe('');
    expect(written.stderr).toContain('█');
    expect(await face.again(never)).toBe(false);
  });

  test('without any escape sequence where nothing is a terminal', async () => {
    const { options, written } = streams({ isTTY: false }, { isTTY: false });
    (await openFace(options)).show(code);
    expect(written.stderr).toContain('ABC-DEF-GHI');
    expect(written.stderr).not.toContain('\u001B');
  });

  test('without a QR code to a screen reader or a dumb terminal', async () => {
    for (const more of [{ INK_SCREEN_READER: 'true' }, { TERM: 'dumb' }]) {
      const { options, written } = streams({ isTTY: true }, { isTTY: true });
      (await openFace({ ...options, plain: true, env: { ...env, ...more } })).show(code);
      expect(written.stdout).not.toContain('\u001B');
    }
  });
});

describe('a question', () => {
  const answer = async (text: string, stop: AbortSignal = never) => {
    const input = new PassThrough();
    input.end(text);
    return askYesNo('More?', stop, { input, output: new PassThrough() });
  };

  test.each([
    ['\n', true],
    ['y\n', true],
    ['YES\n', true],
    ['n\n', false],
    ['what\n', false],
    ['', false],
  ])('answered by %j is %j', async (text, yes) => {
    expect(await answer(text)).toBe(yes);
  });

  test('that was taken back is no', async () => {
    expect(await answer('y\n', AbortSignal.abort())).toBe(false);
    const stop = new AbortController();
    const asked = askYesNo('More?', stop.signal, { input: new PassThrough(), output: new PassThrough() });
    stop.abort();
    expect(await asked).toBe(false);
  });
});

test('plain and JSON load neither ink nor react nor commander', () => {
  const root = new URL('../../../src/login/faces/', import.meta.url);
  const seen = new Set<string>();
  const packages = new Set<string>();
  const visit = (url: URL) => {
    if (seen.has(url.href)) return;
    seen.add(url.href);
    for (const [, from = ''] of readFileSync(url, 'utf8').matchAll(
      /^(?:import|export) (?!type\b)[^;]*? from '([^']+)'/gm,
    )) {
      if (from.startsWith('.')) visit(new URL(from.replace(/\.js$/, '.ts'), url));
      else packages.add(from);
    }
  };
  visit(new URL('index.ts', root));
  expect(seen.size).toBeGreaterThan(5);
  expect([...packages].sort()).toEqual(['node:readline/promises', 'qrcode-terminal']);
});

test('the bundle is found from where the built loader stands', async () => {
  const built = new URL('../../../dist/login/faces/index.js', import.meta.url).href;
  const { loadInkFace } = (await import(built)) as typeof import('../../../src/login/faces/index.js');
  expect(await loadInkFace()).toBeTypeOf('function');
});
