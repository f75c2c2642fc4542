import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Metafile } from 'esbuild';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

/** What each file takes in, by paths from the root; packages by their names. Static and dynamic imports alike. */
async function imports(entryPoints: readonly string[]): Promise<Metafile['inputs']> {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: [...entryPoints],
    outdir: '/nowhere',
    bundle: true,
    write: false,
    metafile: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    logLevel: 'silent',
  });
  return metafile.inputs;
}

const sources = (dir: string): string[] =>
  readdirSync(join(root, dir), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.tsx?$/.test(name) && !name.endsWith('.d.ts'))
    .map((name) => join(dir, name));

const packageOf = (path: string): string =>
  path
    .split('/')
    .slice(0, path.startsWith('@') ? 2 : 1)
    .join('/');

const packages = (inputs: Metafile['inputs']): string[] => [
  ...new Set(
    Object.values(inputs)
      .flatMap((file) => file.imports)
      .filter(({ external, path }) => external && !path.startsWith('node:'))
      .map(({ path }) => packageOf(path)),
  ),
];

describe('what is built', () => {
  test.each(['daemon', 'broker'])('the %s never loads what draws or what reads a command line', async (name) => {
    const inputs = await imports([`dist/${name}/main.js`]);
    expect(Object.keys(inputs).length).toBeGreaterThan(20);
    expect(packages(inputs)).toContain('openid-client');
    for (const heavy of ['ink', 'react', 'commander', 'keytar']) expect(packages(inputs)).not.toContain(heavy);
    // What ssh clients are shown is written by the broker, and a QR code is in it.
    const face =
      name === 'broker' ? ['links', 'pam', 'qr', 'width', 'words'].map((file) => `dist/login/faces/${file}.js`) : [];
    expect(packages(inputs).includes('qrcode-terminal')).toBe(name === 'broker');
    expect(
      Object.keys(inputs)
        .filter((path) => /login\/faces|ink\.bundle|commands\//.test(path))
        .sort(),
    ).toEqual(face);
    expect(await atStart(`dist/${name}/main.js`)).not.toContain('dist/login/faces/pam.js');
  });

  test('the storer loads neither these nor what speaks to issuers', async () => {
    const inputs = await imports(['dist/storer/main.js']);
    const heavy = ['ink', 'react', 'commander', 'qrcode-terminal', 'keytar', 'openid-client', 'undici'];
    expect(packages(inputs).filter((name) => heavy.includes(name))).toEqual([]);
    expect(Object.keys(inputs).filter((path) => /login\/faces|commands\//.test(path))).toEqual([]);
  });

  /** What is there when a program begins, by static imports alone. */
  async function atStart(main: string): Promise<readonly string[]> {
    const inputs = await imports([main]);
    const first = (path: string): string[] =>
      (inputs[path]?.imports ?? []).filter(({ kind }) => kind === 'import-statement').map((one) => one.path);
    const loaded = new Set<string>();
    for (const queue = [main]; queue.length > 0; ) {
      const path = queue.pop() as string;
      if (loaded.has(path)) continue;
      loaded.add(path);
      queue.push(...first(path));
    }
    return [...loaded].filter((path) => !path.startsWith('node:'));
  }

  test('credmon starts with nothing but what every command needs', async () => {
    expect((await atStart('dist/commands/main.js')).filter((path) => !path.startsWith('dist/'))).toEqual([]);
  });

  test('the storer starts with nothing but what it takes to see that all is well', async () => {
    const loaded = await atStart('dist/storer/main.js');
    expect(loaded.filter((path) => !/^dist\/(?:core|storer|status|system)\//.test(path))).toEqual([]);
    expect(loaded).not.toContain('dist/storer/work.js');
  });
});

/** An import only ever points down this list. Those on one line do not import one another. */
const floors: readonly (readonly string[])[] = [
  ['core'],
  ['config', 'providers', 'grants', 'stores', 'system'],
  ['login', 'daemon', 'broker', 'storer', 'status'],
  ['commands'],
];

/** Where real things are built and wired: such a file may take in everything below and beside it. */
const assembly = /^(?:commands\/.*|[^/]+\/main\.ts|daemon\/[\w-]+-kind\.ts)$/;

/** The few that go sideways, and why. */
const sideways: readonly (readonly [from: RegExp, to: RegExp, why: string])[] = [
  [
    /^(?:broker|login)\//,
    /^(?:login|broker)\//,
    'the broker runs the login of a person; the terminal draws what it is sent',
  ],
  [
    /^daemon\/(?:intake|child|status-files)\.ts$/,
    /^broker\/(?:spool|spool-record|accounts)\.ts$/,
    'the spool and the accounts are what the two share',
  ],
  [/^status\/watch\//, /^login\/faces\//, 'a screen is drawn with what a login is drawn with'],
  [/^storer\//, /^status\//, 'what credmond tells is what the storer goes by'],
];

const floorOf = (path: string): number => floors.findIndex((rooms) => rooms.includes(roomOf(path)));

const roomOf = (path: string): string => path.split('/')[0] ?? '';

/** Who takes in what, types too (which no bundler sees): paths from src. */
const taken = sources('src').flatMap((file) => {
  const text = readFileSync(join(root, file), 'utf8');
  const found = text.matchAll(/(?:\bfrom|\bimport\(|\bimport) ?'(\.[^']+)'/g);
  return [...found].map(
    ([, path = '']) =>
      [relative('src', file), relative('src', join(dirname(file), path.replace(/\.js$/, '.ts')))] as const,
  );
});

describe('the house', () => {
  test('every room is on a floor, and imports only point down', () => {
    const wrong: string[] = [];
    for (const [here, there] of taken) {
      expect([here, floorOf(here)]).not.toEqual([here, -1]);
      const down = floorOf(here) - floorOf(there);
      const allowed = roomOf(here) === roomOf(there) || down > 0 || (assembly.test(here) && down >= 0);
      if (!allowed && !sideways.some(([a, b]) => a.test(here) && b.test(there))) wrong.push(`${here} → ${there}`);
    }
    expect(wrong).toEqual([]);
    expect(taken.length).toBeGreaterThan(200);
  });

  test('core takes in nothing but itself', async () => {
    const inputs = await imports(sources('src/core'));
    expect(Object.keys(inputs).filter((path) => !path.startsWith('src/core/'))).toEqual([]);
    expect(packages(inputs)).toEqual([]);
    expect(Object.values(inputs).flatMap((file) => file.imports.filter(({ external }) => external))).toEqual([]);
  });

  test('every exception is of use', () => {
    for (const [a, b, why] of sideways) {
      const used = taken.some(([here, there]) => a.test(here) && b.test(there) && roomOf(here) !== roomOf(there));
      expect([why, used]).toEqual([why, true]);
    }
  });
});
