import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { failureOf } from '../../src/core/failure.js';
import { nameTrouble } from '../../src/core/names.js';
import {
  argumentOf,
  loginWords,
  logoutWords,
  parseRequest,
  requestOf,
  type ServiceRequest,
} from '../../src/core/request.js';

const troubleWith = (argument: string) => {
  try {
    return parseRequest(argument);
  } catch (error) {
    return failureOf(error);
  }
};

const name = fc
  .string({ unit: fc.constantFrom(...'abXY09+=_.-'), minLength: 1, maxLength: 12 })
  .filter((text) => nameTrouble(text) === undefined);
const scope = fc
  .string({ unit: fc.constantFrom(...'abz:/.*_-&~!$(){}'), minLength: 1, maxLength: 12 })
  .filter((text) => !/&\w*=/.test(text));
const free = fc.oneof(
  fc.constantFrom(
    'https://x/?a=b&c=d',
    'https://wlcg.cern.ch/jwt/v1/any',
    'a b',
    "it's",
    '--foo bar',
    '-',
    '&',
    'a&handle=b',
  ),
  fc.string({ unit: fc.constantFrom(...'ab&=/:? \'"$`\\;%~é'), minLength: 1, maxLength: 20 }),
);
const request: fc.Arbitrary<ServiceRequest> = fc
  .record(
    {
      service: name,
      handle: name,
      scopes: fc.uniqueArray(scope, { minLength: 1, maxLength: 4 }).map((list) => [...list].sort()),
      audience: free.filter((text) => !text.includes('&options=')),
      options: free,
    },
    { requiredKeys: ['service'] },
  )
  .filter(({ scopes }) => scopes === undefined || !/&\w*=/.test(scopes.join(',')));

describe('parseRequest', () => {
  test.each<[string, ServiceRequest]>([
    ['box', { service: 'box' }],
    ['pel&handle=ro', { service: 'pel', handle: 'ro' }],
    [
      'myprov&scopes=read:/a,write:/b&audience=https://x.example/',
      {
        service: 'myprov',
        scopes: ['read:/a', 'write:/b'],
        audience: 'https://x.example/',
      },
    ],
    [
      'dune_production&handle=h1&scopes=storage.read:/p,storage.create:/q&audience=https://aud.example&options=--foo bar',
      {
        service: 'dune_production',
        handle: 'h1',
        scopes: ['storage.create:/q', 'storage.read:/p'],
        audience: 'https://aud.example',
        options: '--foo bar',
      },
    ],
    ['s&audience=https://x/?a=b&c=d', { service: 's', audience: 'https://x/?a=b&c=d' }],
    [
      's&audience=https://x/?scopes=b&handle=d&options=--x&options=y',
      {
        service: 's',
        audience: 'https://x/?scopes=b&handle=d',
        options: '--x&options=y',
      },
    ],
    ['s&options=a&audience=b', { service: 's', options: 'a&audience=b' }],
    ['s&scope=a,b', { service: 's', scopes: ['a', 'b'] }],
    ['s&scopes=b a,a', { service: 's', scopes: ['a', 'b'] }],
    ['s&scopes=', { service: 's' }],
    ['s&scopes=&audience=&options=', { service: 's' }],
    ['s&scopes=storage.read:/R&D', { service: 's', scopes: ['storage.read:/R&D'] }],
  ])('%s', (argument, expected) => {
    expect(parseRequest(argument)).toEqual(expected);
  });

  test.each([
    ['', '"" cannot name a service: it is empty'],
    ['&handle=x', '"" cannot name a service: it is empty'],
    ['../x', '"../x" cannot name a service'],
    ['a b', '"a b" cannot name a service'],
    ['a&handle=', '"" cannot name a handle: it is empty'],
    ['a&handle=b/c', '"b/c" cannot name a handle'],
    ['a&handle=..', '".." cannot name a handle'],
    ['a&foo=b', 'has "&foo" where no such key can stand'],
    ['a&foo', 'has "&foo" where no such key can stand'],
    ['a&', 'has "&" where no such key can stand'],
    ['a&handle=b&foo=c', 'has "&foo" where no such key can stand'],
    ['a&scopes=b&foo=c', '"b&foo=c" cannot be a scope'],
    ['a&scopes=b&handle=c', '"b&handle=c" cannot be a scope'],
    ['a&scopes=b"c', '"b"c" cannot be a scope'],
    ['a&audience=\u001b[2J', 'the audience "" has characters in it that cannot be shown'],
    ['a&audience=x\ny', 'the audience "x y" has characters'],
    ['a&options=\u202e', 'the options "" has characters'],
  ])('%j is refused', (argument, what) => {
    const failure = troubleWith(argument);
    expect(failure).toMatchObject({ kind: 'usage', what: expect.stringContaining(what) });
    expect(JSON.stringify(failure)).not.toMatch(/\\u001b|\u202e/);
  });

  test('reads back whatever the storer is given', () => {
    fc.assert(
      fc.property(request, (asked) => {
        expect(parseRequest(argumentOf(asked))).toEqual(asked);
      }),
      { numRuns: 1000 },
    );
  });

  test('whatever is given: a request made of names, or Failed', () => {
    const odd = fc.array(
      fc.constantFrom(
        'a',
        '&',
        '=',
        'handle',
        'scopes',
        'scope',
        'audience',
        'options',
        ',',
        '/',
        '..',
        '\n',
        ' ',
        'é',
      ),
    );
    fc.assert(
      fc.property(odd, (parts) => {
        const argument = parts.join('');
        const read = troubleWith(argument);
        if (read === undefined) throw new Error('threw something else');
        if ('kind' in read) return;
        expect(nameTrouble(read.service)).toBeUndefined();
        // What is left out is what was empty, so writing it and reading it again changes nothing.
        expect(parseRequest(argumentOf(read))).toEqual(read);
      }),
      { numRuns: 2000 },
    );
  });
});

test('requestOf says where the words come from', () => {
  expect(() => requestOf({ service: 'a', scopes: '\\' }, (part) => `x.sub, the ${part}`)).toThrow(
    /^x\.sub, the scopes: /,
  );
});

describe('loginWords', () => {
  test.each<[ServiceRequest, string]>([
    [{ service: 'osdf' }, 'credmon login osdf'],
    [
      { service: 'osdf', handle: 'ro', scopes: ['read:/a', 'write:/b'], audience: 'https://x', options: '-v' },
      "credmon login osdf --handle ro --scope 'read:/a write:/b' --audience https://x",
    ],
    [{ service: 'a', scopes: ['openid'] }, 'credmon login a --scope openid'],
    [{ service: 'a', audience: 'https://x/?a=b&c=d' }, "credmon login a --audience 'https://x/?a=b&c=d'"],
    [{ service: 'a', audience: "it's" }, `credmon login a --audience 'it'\\''s'`],
    [{ service: '=ls', handle: '-x' }, "credmon login '=ls' --handle -x"],
    [{ service: '-rf', handle: 'x' }, 'credmon login --handle x -- -rf'],
    [{ service: 'a', audience: '~root' }, "credmon login a --audience '~root'"],
  ])('%j', (asked, words) => {
    expect(loginWords(asked)).toBe(words);
  });

  test('by force, where a good one is there; and giving it up', () => {
    const asked = { service: 'osdf', handle: 'ro', scopes: ['read:/a'], audience: 'https://x' };
    expect(loginWords(asked, { force: true })).toBe(
      'credmon login osdf --handle ro --scope read:/a --audience https://x --force',
    );
    // After `--` it would be taken for a provider.
    expect(loginWords({ service: '-rf' }, { force: true })).toBe('credmon login --force -- -rf');
    expect(logoutWords(asked)).toBe('credmon logout osdf --handle ro');
    expect(logoutWords({ service: '-rf' })).toBe('credmon logout -- -rf');
  });

  test('a shell reads the very words', () => {
    fc.assert(
      fc.property(request, (asked) => {
        const line = loginWords(asked).replace('credmon', "printf '%s\\0'");
        const read = execFileSync('sh', ['-c', line], { encoding: 'utf8' }).split('\0').slice(0, -1);
        expect(read[0]).toBe('login');
        expect(read).toContain(asked.service);
        for (const [flag, value] of [
          ['--handle', asked.handle],
          ['--scope', asked.scopes?.join(' ')],
          ['--audience', asked.audience],
        ])
          expect(value === undefined ? undefined : read[read.indexOf(flag as string) + 1]).toBe(value);
      }),
      { numRuns: 60 },
    );
  });
});

describe('argumentOf', () => {
  test.each<[ServiceRequest, string]>([
    [{ service: 'box' }, 'box'],
    [{ service: 'box', scopes: [] }, 'box'],
    // The order is condor_submit's (submit_utils.cpp, process_job_credentials).
    [
      { service: 's', handle: 'h', scopes: ['a', 'b'], audience: 'https://x/?a=b&c=d', options: '--foo bar' },
      's&handle=h&scopes=a,b&audience=https://x/?a=b&c=d&options=--foo bar',
    ],
  ])('%j', (asked, words) => {
    expect(argumentOf(asked)).toBe(words);
  });
});
