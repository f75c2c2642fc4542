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
    for (const heavy of ['ink', 'react', 'commander', 'qrcode-terminal', 'keytar'])
      expect(packages(inputs)).not.toContain(heavy);
    expect(Object.keys(inputs).filter((path) => /login\/faces|ink\.bundle|commands\//.test(path))).toEqual([]);
  });

  test('credmon starts with nothing but what every command needs', async () => {
    const inputs = await imports(['dist/commands/main.js']);
    const first = (path: string): string[] =>
      (inputs[path]?.imports ?? []).filter(({ kind }) => kind === 'import-statement').map((one) => one.path);
    const loaded = new Set<string>();
    for (const queue = ['dist/commands/main.js']; queue.length > 0; ) {
      const path = queue.pop() as string;
      if (loaded.has(path)) continue;
      loaded.add(path);
      queue.push(...first(path));
    }
    expect([...loaded].filter((path) => !path.startsWith('dist/') && !path.startsWith('node:'))).toEqual([]);
  });
});

/** An import only ever points down this list. Those on one line do not import one another. */
const floors: readonly (readonly string[])[] = [
  ['core'],
  ['config', 'providers', 'grants', 'stores', 'system'],
  ['login', 'daemon', 'broker', 'status'],
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
