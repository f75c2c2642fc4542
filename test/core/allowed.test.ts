import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { notAllowed } from '../../src/core/allowed.js';

const may = (scope: string, templates: readonly string[], username = 'alice') =>
  notAllowed([scope], templates, username) === undefined;

describe('a list of templates', () => {
  test('that is empty allows nothing, and asking for nothing is always allowed', () => {
    expect(notAllowed(['openid'], [], 'alice')).toBe('openid');
    expect(notAllowed([], [], 'alice')).toBeUndefined();
    expect(notAllowed([], ['openid'], 'alice')).toBeUndefined();
  });

  test('tells the first scope that none of them has', () => {
    expect(notAllowed(['openid', 'b', 'a'], ['openid'], 'alice')).toBe('b');
    expect(notAllowed(['openid', 'a'], ['a', 'openid'], 'alice')).toBeUndefined();
  });

  test.each([
    ['openid', 'openid', true],
    ['openid', 'OpenID', false],
    ['openid', 'openid2', false],
    ['openid', 'open', false],
    // Without a path there is nothing below.
    ['compute.read', 'compute.read:/', false],
    ['storage.read', 'storage.read:/alice', false],
    ['storage.read:/', 'storage.read', false],
    ['wlcg.groups', 'wlcg.groups:/admins', false],
    ['wlcg.groups:/cms', 'wlcg.groups:/cms/uscms', true],
  ])('%s: %s is allowed: %s', (template, scope, allowed) => {
    expect(may(scope, [template])).toBe(allowed);
  });
});

describe('a scope with a path', () => {
  test.each(['', '/', '/a', '/a/', '/a/b', '/.hidden', '/a..b', '/...', '/a.', '/bob', '/{username}'])(
    'covers what lies below it: %s',
    (rest) => {
      expect(may(`storage.read:/alice${rest}`, ['storage.read:/alice'])).toBe(true);
      expect(may(`storage.read:/alice${rest}`, ['storage.read:/'])).toBe(true);
    },
  );

  test.each([
    'storage.read:/alicex',
    'storage.read:/alice.x',
    'storage.read:/alic',
    'storage.read:/ALICE',
    'storage.read:/Alice/a',
    'storage.read:/alice:/bob',
    'storage.read:/',
    'storage.read:alice',
    'storage.read:alice/a',
    'Storage.read:/alice',
    'storage.modify:/alice',
    'storage.read :/alice',
    'x:storage.read:/alice',
    'storage.read:x:/alice',
    ':/alice',
    '/alice',
  ])('and nothing beside it: %s', (scope) => {
    expect(may(scope, ['storage.read:/alice'])).toBe(false);
  });

  test('that ends with a slash covers what lies below it, and not what some take for the same', () => {
    expect(may('storage.read:/alice/', ['storage.read:/alice/'])).toBe(true);
    expect(may('storage.read:/alice/a', ['storage.read:/alice/'])).toBe(true);
    expect(may('storage.read:/alice', ['storage.read:/alice/'])).toBe(false);
    expect(may('storage.read:/alicex', ['storage.read:/alice/'])).toBe(false);
  });

  test('the whole tree is the whole tree, of that authorization alone', () => {
    expect(may('storage.read:/', ['storage.read:/'])).toBe(true);
    expect(may('storage.modify:/', ['storage.read:/'])).toBe(false);
    expect(may('storage.read://', ['storage.read:/'])).toBe(false);
  });

  const crooked = [
    '/alice/../bob',
    '/alice/..',
    '/alice/.',
    '/alice/./a',
    '/alice/./../bob',
    '/alice//bob',
    '/alice//',
    '//alice',
    '/alice/%2e%2e/bob',
    '/alice/%2E%2e/bob',
    '/alice/.%2e/bob',
    '/alice/%2fbob',
    '/alice%2f..%2fbob',
    '/alice/%252e%252e/bob',
    '/alice/%',
    '/alice/a%20b',
    '/alice/..;/bob',
    '/alice/..;x=y/bob',
    '/alice/.;/a',
    '/alice/\\..\\bob',
    '/alice/..\\bob',
  ];
  test.each(crooked)('what one verifier or another resolves elsewhere lies below nothing: %s', (path) => {
    for (const template of [
      'storage.read:/',
      'storage.read:/alice',
      'storage.read:/{username}',
      'storage.read:/alice/',
    ])
      expect(may(`storage.read:${path}`, [template])).toBe(false);
  });

  test.each(crooked)('but it is the administrator’s to list it as it stands: %s', (path) => {
    expect(may(`storage.read:${path}`, [`storage.read:${path}`])).toBe(true);
    expect(may(`storage.read:${path}/a`, [`storage.read:${path}`])).toBe(false);
  });
});

describe('{username}', () => {
  test('stands for whoever asks, everywhere in the template', () => {
    const templates = ['storage.read:/home/{username}', 'group:{username}', 'x:/{username}/of/{username}'];
    for (const scope of ['storage.read:/home/alice/a', 'group:alice', 'x:/alice/of/alice'])
      expect(may(scope, templates)).toBe(true);
    for (const scope of [
      'storage.read:/home/bob',
      'storage.read:/home/alicex',
      'storage.read:/home',
      'storage.read:/home/{username}',
      'group:bob',
      'x:/alice/of/bob',
    ])
      expect(may(scope, templates)).toBe(false);
  });

  test.each(['a.b', 'a+b', 'a=b', '-a', 'a_b', 'A', 'x.y.z'])('a name like %s is itself and nothing else', (name) => {
    const templates = ['storage.read:/home/{username}'];
    expect(may(`storage.read:/home/${name}`, templates, name)).toBe(true);
    expect(may(`storage.read:/home/${name}/a`, templates, name)).toBe(true);
    expect(may('storage.read:/home/aXb', templates, name)).toBe(name === 'aXb');
    expect(may(`storage.read:/home/${name.toLowerCase()}x`, templates, name)).toBe(false);
    expect(may('storage.read:/home/bob', templates, name)).toBe(false);
  });

  test.each(['', '.', '..', '/', 'a/b', '../bob', 'bob/..', '{username}', '$&', '$`', 'a b', '%2e%2e', 'a_'])(
    'a name that is no name fills in nothing: %o',
    (name) => {
      for (const path of [name, `${name}/a`, '', 'bob', 'bob/a', '{username}', 'alice', '..'])
        expect(may(`storage.read:/home/${path}`, ['storage.read:/home/{username}'], name)).toBe(false);
      expect(may('openid', ['openid', 'x:/{username}'], name)).toBe(true);
    },
  );

  test('is a word of the templates, not of those who ask', () => {
    expect(may('storage.read:/{username}', ['storage.read:/alice'])).toBe(false);
    expect(may('group:{username}', ['group:alice'])).toBe(false);
    expect(may('group:{USERNAME}', ['group:{username}'])).toBe(false);
    expect(may('group:{Username}', ['group:{Username}'])).toBe(true);
  });
});

/** As a careful file server does it. */
function resolved(path: string): string {
  let [before, now] = ['', path];
  while (before !== now) [before, now] = [now, decoded(now)];
  const out: string[] = [];
  for (const part of now.replaceAll('\\', '/').split('/')) {
    const [segment = ''] = part.split(';');
    if (segment === '..') out.pop();
    else if (segment !== '' && segment !== '.') out.push(segment);
  }
  return `/${out.join('/')}`;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

test('whatever is asked for, by any reading it leads nowhere outside', () => {
  const piece = fc.constantFrom(
    'alice',
    'bob',
    'a',
    '.',
    '..',
    '...',
    '',
    '%2e',
    '%2E%2e',
    '%2f',
    '%',
    ';',
    '..;',
    '\\',
    '+',
    ':',
    '?',
    '#',
  );
  const path = fc
    .array(fc.tuple(fc.constantFrom('/', '/', '/', ''), piece), { minLength: 1, maxLength: 8 })
    .map((pieces) => pieces.flat().join(''));
  let allowed = 0;
  fc.assert(
    fc.property(path, (tail) => {
      const scope = `storage.read:/alice${tail}`;
      if (!may(scope, ['storage.read:/{username}'])) return;
      allowed++;
      expect(`${resolved(`/alice${tail}`)}/`).toMatch(/^\/alice\//);
    }),
    { numRuns: 3000 },
  );
  expect(allowed).toBeGreaterThan(20);
});
