import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { openMapFiles, parseMap } from '../../src/config/mapfile.js';
import { failureOf } from '../../src/core/failure.js';
import { mapUser } from '../../src/core/identity.js';

const root = process.getuid?.() === 0;
const stranger = 54_321;
const parsed = (text: string | Uint8Array) => [
  ...parseMap(typeof text === 'string' ? Buffer.from(text) : text, '/etc/map'),
];
const whatOf = (text: string | Uint8Array): string | undefined => {
  try {
    parsed(text);
  } catch (thrown) {
    return failureOf(thrown)?.what;
  }
  return undefined;
};

describe('the lines of a map file', () => {
  test('are a value and a user each, between comments', () => {
    const text = `\uFEFF# who is who
http://cilogon.org/serverE/users/4711 alice

   alice@uni.example\tbob   # the other one\r
"Jörg \\"Joe\\" Müller" joerg
https://orcid.org/0000#frag carol
"# no comment" dave
"\\u0061" a # last, without a newline`;
    expect(parsed(text)).toEqual([
      ['http://cilogon.org/serverE/users/4711', 'alice'],
      ['alice@uni.example', 'bob'],
      ['Jörg "Joe" Müller', 'joerg'],
      ['https://orcid.org/0000#frag', 'carol'],
      ['# no comment', 'dave'],
      ['a', 'a'],
    ]);
  });

  test.each([
    ['', []],
    ['\n\n# nobody\n', []],
    ['x y\nx y\n', [['x', 'y']]],
  ])('may be few: %j', (text, table) => {
    expect(parsed(text)).toEqual(table);
  });

  test.each([
    ['alice', 'there is no user after the value'],
    ['alice # bob', 'there is no user after the value'],
    ['"alice"', 'there is no user after the value'],
    ['alice bob carol', 'there is more than a value and a user; a value with blanks needs double quotes'],
    ['Alice Smith alice # x', 'there is more than a value and a user; a value with blanks needs double quotes'],
    ['"alice bob', 'a quoted value does not end, or has no blank behind it'],
    ['"alice"bob', 'a quoted value does not end, or has no blank behind it'],
    ['"al\\xice" bob', 'the quoted value is not as in JSON'],
    ['"" bob', 'no claim has such a value'],
    ['"a\\nb" bob', 'no claim has such a value'],
    ['" a" bob', 'no claim has such a value'],
    ['a\0b bob', 'no claim has such a value'],
    [`${'x'.repeat(1025)} bob`, 'no claim has such a value'],
    ['alice root', '"root" can be no account here'],
    ['alice ../bob', '"../bob" can be no account here'],
    ['alice "bob"', '""bob"" can be no account here'],
    ['alice 1000', '"1000" can be no account here'],
    ['alice b\u001b[31mob', '"bob" can be no account here'],
    ['x somebody', 'the value is y in line 3, and here somebody'],
  ])('that are wrong are told of with file and line: %j', (line, why) => {
    expect(whatOf(`# one\n\nx y\nx y\n${line}\nz z\n`)).toBe(`the map file /etc/map, line 5: ${why}`);
  });

  test('must be UTF-8', () => {
    expect(whatOf(Buffer.concat([Buffer.from('a b\n# \u00e9\n'), Buffer.from([0x63, 0xe9, 0x20, 0x64])]))).toBe(
      'the map file /etc/map, line 3: it is not UTF-8',
    );
  });

  test('give back every value that a claim may have, if it is written as in JSON', () => {
    const value = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(value, (text) => {
        const line = `${JSON.stringify(text)} alice\n`;
        const usable = 'user' in mapUser({ sub: text }, [{ claim: 'sub', match: '.*', user: 'x' }], new Map());
        if (usable) expect(parsed(line)).toEqual([[text, 'alice']]);
        else expect(whatOf(line)).toMatch(/no claim has such a value$/);
      }),
    );
  });

  test('are read or complained of, whatever they are', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.uint8Array(), fc.string({ unit: fc.constantFrom('"', '\\', ' ', '#', 'a', '\n', '\t', 'u') })),
        (text) => {
          try {
            for (const [value, user] of parsed(text)) expect(value + user).not.toMatch(/[\n\0]/);
          } catch (thrown) {
            expect(failureOf(thrown)).toMatchObject({
              kind: 'config',
              what: expect.stringMatching(/^the map file \/etc\/map, line \d+: /),
            });
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe('a map file', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'credmon-map-'));
    chmodSync(folder, 0o755);
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  });
  const put = (name = 'map', text = 's alice\n', mode = 0o644): string => {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    chmodSync(path, mode);
    return path;
  };
  const read = (file: string, owners?: readonly number[]) => openMapFiles(owners)([{ claim: 'sub', file }]);
  const refusal = async (file: string, owners?: readonly number[]) =>
    failureOf(
      await read(file, owners).then(
        () => undefined,
        (thrown: unknown) => thrown,
      ),
    );

  test.each([0o400, 0o440, 0o444, 0o600, 0o644])('may have mode %o', async (mode) => {
    const file = put('map', 's alice\n', mode);
    expect(await read(file)).toEqual(new Map([[file, new Map([['s', 'alice']])]]));
  });

  test.each([
    [0o664, '0664'],
    [0o646, '0646'],
    [0o666, '0666'],
  ])('that others may write to is refused: %o', async (mode, shown) => {
    const file = put('map', 's alice\n', mode);
    expect(await refusal(file)).toEqual({
      kind: 'config',
      what: `the map file ${file} may be written by others (mode ${shown})`,
      hint: `run: chmod go-w ${file}`,
    });
  });

  test.each([0o775, 0o757, 0o777])('in a folder that others may write to is refused: %o', async (mode) => {
    const file = put('deep/er/map');
    chmodSync(join(folder, 'deep'), mode);
    expect((await refusal(file))?.what).toContain(
      `may be replaced by others: the folder ${join(folder, 'deep')} is open to them`,
    );
    chmodSync(join(folder, 'deep'), mode | 0o1000);
    expect((await read(file)).size).toBe(1);
  });

  test('behind symbolic links is looked at where it is, and on the whole way', async () => {
    const file = put('real/map');
    const link = join(folder, 'link');
    symlinkSync('open/../real/./map', link);
    mkdirSync(join(folder, 'open'));
    expect((await read(link)).get(link)?.get('s')).toBe('alice');
    chmodSync(join(folder, 'open'), 0o777);
    expect((await refusal(link))?.what).toContain(`the folder ${join(folder, 'open')} is open`);
    chmodSync(join(folder, 'open'), 0o755);
    chmodSync(join(folder, 'real'), 0o777);
    expect((await refusal(link))?.what).toContain(`the folder ${join(folder, 'real')} is open`);
    chmodSync(file, 0o600);
    symlinkSync('loop', join(folder, 'loop'));
    expect((await refusal(join(folder, 'loop')))?.what).toContain('is behind too many symbolic links');
  });

  test.runIf(root)('checklist 18: of another owner, or in a folder or behind a link of one, is refused', async () => {
    const file = put('mine/map');
    chownSync(file, stranger, stranger);
    expect(await refusal(file)).toMatchObject({
      what: `the map file ${file} belongs to uid ${stranger}`,
      hint: `run: chown root ${file}`,
    });
    expect((await read(file, [0, stranger])).size).toBe(1);
    chownSync(file, 0, 0);
    chownSync(join(folder, 'mine'), stranger, 0);
    expect((await refusal(file))?.what).toContain(
      `may be replaced by uid ${stranger}, whose the folder ${join(folder, 'mine')} is`,
    );
    chownSync(join(folder, 'mine'), 0, 0);
    const link = join(folder, 'link');
    symlinkSync(file, link);
    lchownSync(link, stranger, stranger);
    expect((await refusal(link))?.what).toContain(`is behind the symbolic link ${link} of uid ${stranger}`);
  });

  test('checklist 18: is nobody’s who is neither root nor the broker', async () => {
    const file = put();
    expect((await refusal(file, [stranger]))?.what).toMatch(
      /^the map file .* may be replaced by uid 0, whose the folder \/ is$/,
    );
  });

  test('that is no file is refused, and not waited for', async () => {
    execFileSync('mkfifo', ['-m', '600', join(folder, 'pipe')]);
    mkdirSync(join(folder, 'folder'));
    for (const name of ['pipe', 'folder'])
      expect((await refusal(join(folder, name)))?.what).toMatch(/is not a plain file$/);
    expect(await refusal(join(folder, 'nowhere'))).toMatchObject({
      kind: 'config',
      what: `the map file ${join(folder, 'nowhere')} cannot be read (ENOENT)`,
      hint: 'check the file name',
    });
  });

  test('is read again when it has changed, and only then', async () => {
    const file = put();
    const maps = openMapFiles();
    const rules = [
      { claim: 'sub', file },
      { claim: 'eppn', file },
      { claim: 'sub', match: '.*' },
    ];
    const once = (await maps(rules)).get(file);
    expect((await maps(rules)).get(file)).toBe(once);
    appendFileSync(file, 't bob\n');
    expect((await maps(rules)).get(file)?.get('t')).toBe('bob');
    renameSync(put('new', 's carol\n'), file);
    expect((await maps(rules)).get(file)).toEqual(new Map([['s', 'carol']]));
    appendFileSync(file, 'half a line');
    await expect(maps(rules)).rejects.toMatchObject({ failure: { what: expect.stringContaining('line 2') } });
    // What was good before does not go on.
    await expect(maps(rules)).rejects.toMatchObject({ failure: { kind: 'config' } });
    chmodSync(put(), 0o666);
    await expect(maps(rules)).rejects.toMatchObject({
      failure: { what: expect.stringContaining('written by others') },
    });
  });
});
