import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { type Lock, runtime, sbom } from './sbom.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (name: string) => readFileSync(join(root, name), 'utf8');
const lock = JSON.parse(read('package-lock.json')) as Lock;
const found = runtime(lock);

describe('what is installed with credmon', () => {
  test('is locked to what it is, and comes from the registry', () => {
    const { dependencies, optionalDependencies } = JSON.parse(read('package.json'));
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies }))
      expect(found.has(`node_modules/${name}`), name).toBe(true);
    for (const [place, { integrity = '', resolved = '' }] of Object.entries(lock.packages)) {
      // Not of other platforms' packages: those who made the lock have not had them, and only development would.
      if (found.has(place)) expect([place, integrity]).toEqual([place, expect.stringMatching(/^sha512-[\w+/]{86}==$/)]);
      if (resolved !== '') expect(resolved).toMatch(/^https:\/\/registry\.npmjs\.org\//);
    }
  });

  test('runs no script when it is installed, but keytar’s', () => {
    const scripts = [...found].filter(([place]) => lock.packages[place]?.hasInstallScript);
    expect(scripts).toEqual([['node_modules/keytar', 'optional']]);
    const { allowScripts, scripts: ours } = JSON.parse(read('package.json'));
    expect(allowScripts).toEqual({ esbuild: true, keytar: true });
    for (const name of ['preinstall', 'install', 'postinstall', 'prepare']) expect(ours).not.toHaveProperty(name);
    // What is there says the same as the lock, which could be out of date.
    for (const place of found.keys()) {
      const file = join(root, place, 'package.json');
      if (!existsSync(file)) continue;
      const { scripts = {} } = JSON.parse(readFileSync(file, 'utf8'));
      const atInstall = Object.keys(scripts).filter((name) => /^(?:pre|post)?install$/.test(name));
      expect([place, atInstall]).toEqual([place, place === 'node_modules/keytar' ? ['install'] : []]);
    }
  });

  test('is as many packages as the README says, and all of them are in the bill of materials', () => {
    const required = [...found.values()].filter((scope) => scope === 'required').length;
    const bill = sbom(lock) as {
      readonly specVersion: string;
      readonly components: readonly {
        readonly 'bom-ref': string;
        readonly name: string;
        readonly scope: string;
        readonly hashes: readonly object[];
      }[];
      readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
    };
    const names = bill.components.map(({ name }) => name);
    // npm’s own leaves out what development needs as well.
    expect(names).toEqual(expect.arrayContaining(['openid-client', 'jose', 'oauth4webapi', 'undici', 'smol-toml']));
    for (const name of ['typescript', 'vitest', 'esbuild', 'oidc-provider']) expect(names).not.toContain(name);
    expect(bill.components.filter(({ scope }) => scope === 'required')).toHaveLength(required);
    const optional = bill.components.length - required;
    expect(read('README.md')).toContain(`has ${required} packages besides credmon, and ${optional} more`);
    const refs = new Set(bill.components.map((one) => one['bom-ref']));
    expect(refs.size).toBe(bill.components.length);
    for (const { hashes } of bill.components)
      expect(hashes).toEqual([{ alg: 'SHA-512', content: expect.stringMatching(/^[0-9a-f]{128}$/) }]);
    for (const { ref, dependsOn } of bill.dependencies)
      for (const one of dependsOn) expect([ref, refs.has(one)]).toEqual([ref, true]);
  });
});

describe('what is published', () => {
  const listed = () => {
    const out = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      maxBuffer: 1 << 24,
    });
    const packed: unknown = JSON.parse(out);
    // An array up to npm 11.
    const [only] = Object.values(packed as object) as {
      readonly files: readonly { readonly path: string; readonly mode: number }[];
    }[];
    return only?.files ?? [];
  };

  test('is the programs, the documents and the PAM module, and nothing else', () => {
    const allowed =
      /^(?:package\.json|LICENSE|README\.md|CHANGELOG\.md|bin\/credmon[a-z-]*(?:\.js)?|docs\/(?:[\w-]+\/)?[\w.-]+|dist\/(?:[\w-]+\/)+[\w.-]+\.js|pam\/(?:Makefile|[a-z_]+\.[ch]|(?:hook|selinux|systemd)\/[\w.-]+))$/;
    const files = listed();
    expect(files.map(({ path }) => path).filter((path) => !allowed.test(path))).toEqual([]);
    for (const name of ['credmon', 'credmond', 'credmon-broker', 'credmon-storer'])
      expect(files.map(({ path }) => path)).toEqual(expect.arrayContaining([`bin/${name}.js`, `dist/run/${name}.js`]));
    expect(files.filter(({ mode }) => (mode & 0o7022) !== 0).map(({ path }) => path)).toEqual([]);
    const text = files.map(({ path }) => readFileSync(join(root, path), 'utf8')).join('\n');
    expect(text).not.toMatch(/s3cret-for-tests-only|BEGIN (?:[A-Z]+ )?PRIVATE KEY/);
  });

  test('loads nothing that is not in the bill of materials', () => {
    const names = new Set([...found.keys()].map((place) => place.slice(place.lastIndexOf('node_modules/') + 13)));
    const taken = new Set<string>();
    for (const file of readdirSync(join(root, 'dist/run'))) {
      const text = read(join('dist/run', file));
      for (const [, , name = ''] of text.matchAll(/\b(?:from|import\()\s*(["'])([\w@][\w@/.:-]*)\1/g))
        if (!name.startsWith('node:')) taken.add(name);
    }
    const packages = [...taken].filter((name) => !/^(?:[a-z_]+(?:\/promises)?)$/.test(name) || names.has(name));
    expect(packages.filter((name) => !names.has(name))).toEqual([]);
    expect(packages).toEqual(expect.arrayContaining(['undici']));
  });
});
