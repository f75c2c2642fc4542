import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Claims, type MapRule, mapUser, ruleTrouble, shownName } from '../../src/core/identity.js';

const none = new Map();
/** The name alone; undefined: refused. */
function nameOf(claims: Claims, ...rules: readonly MapRule[]): string | undefined {
  const mapped = mapUser(claims, rules, none);
  return 'user' in mapped ? mapped.user : undefined;
}

describe('a person’s account', () => {
  test.each<[string, Claims, MapRule, string | undefined]>([
    ['is the whole claim', { preferred_username: 'alice' }, { claim: 'preferred_username' }, 'alice'],
    [
      'is what the pattern catches',
      { eppn: 'alice@uni.example' },
      { claim: 'eppn', match: '([a-z]+)@uni\\.example' },
      'alice',
    ],
    ['is the whole value where the pattern catches nothing', { sub: 'bob' }, { claim: 'sub', match: '[a-z]+' }, 'bob'],
    [
      'checklist 18: is not made of a value that only begins well',
      { eppn: 'alice@uni.example.evil' },
      { claim: 'eppn', match: '([a-z]+)@uni\\.example' },
      undefined,
    ],
    [
      'is not made of a value that only ends well',
      { eppn: '0x@alice@uni.example' },
      { claim: 'eppn', match: '([a-z]+)@uni\\.example' },
      undefined,
    ],
    [
      'checklist 18: is not made by one half of an alternative without anchors',
      { sub: 'bobby' },
      { claim: 'sub', match: 'alice|bob' },
      undefined,
    ],
    ['may be put together', { sub: 'ab-12' }, { claim: 'sub', match: '([a-z]+)-(\\d+)', user: 'u$2$1' }, 'u12ab'],
    [
      'may be put together by names',
      { sub: 'ab-12' },
      { claim: 'sub', match: '(?<who>[a-z]+)-(?<n>\\d+)', user: `\${who}.\${n}` },
      'ab.12',
    ],
    ['takes one digit after the dollar', { sub: 'a' }, { claim: 'sub', match: '(a)', user: '$12' }, 'a2'],
    ['may be the same for all', { sub: 'x' }, { claim: 'sub', match: 'x|y', user: 'shared' }, 'shared'],
    ['may be written in capitals', { sub: 'Alice' }, { claim: 'sub' }, 'Alice'],
    [
      'is not made where a group caught nothing',
      { sub: 'b' },
      { claim: 'sub', match: '(a)?b', user: 'x$1' },
      undefined,
    ],
    [
      'is not made where a group caught the empty text',
      { sub: 'b' },
      { claim: 'sub', match: '(a*)b', user: 'x$1' },
      undefined,
    ],
    ['keeps the case that the pattern asks for', { sub: 'ALICE' }, { claim: 'sub', match: '[a-z]+' }, undefined],
  ])('%s', (_, claims, rule, user) => {
    expect(ruleTrouble(rule)).toBeUndefined();
    expect(nameOf(claims, rule)).toBe(user);
  });

  test.each([
    'root',
    '',
    '.',
    '..',
    'a/b',
    '../root',
    '-rf',
    '+alice',
    '1000',
    'alice_',
    'alice smith',
    'alice\n',
    '\nalice',
    'alice\0',
    ' alice',
    'alice ',
    'аlice',
    'ａlice',
    'alice\u200B',
    'alice\u202E',
    'ali\u0301ce',
    'a'.repeat(129),
    'alice:x',
    'alice$',
    'a,b',
    '~alice',
  ])('is never %j', (sub) => {
    expect(nameOf({ sub }, { claim: 'sub' })).toBeUndefined();
    expect(nameOf({ sub }, { claim: 'sub', match: '(?:.|\\n)*' })).toBeUndefined();
  });

  test('checklist 18: is not made with a newline that `$` might pass over', () => {
    for (const sub of ['alice@uni.example\n', 'alice\n@uni.example', 'x\nalice@uni.example'])
      for (const match of ['([a-z]+)@uni\\.example', '^([a-z]+)@uni\\.example$', '([^@]+)@uni\\.example'])
        expect(nameOf({ sub }, { claim: 'sub', match })).toBeUndefined();
  });

  test('is not made with letters that are only like others when their case is folded', () => {
    // U+212A is a k in lower case, U+017F an S in upper case.
    for (const sub of ['\u212Aate', 'bo\u017Fs', 'KATE'])
      expect(nameOf({ sub }, { claim: 'sub', match: '([a-z]+)' })).toBeUndefined();
  });

  test('comes of the first rule that gives a name', () => {
    const rules: MapRule[] = [
      { claim: 'eppn', match: '([a-z]+)@uni\\.example' },
      { claim: 'username' },
      { claim: 'sub' },
    ];
    expect(mapUser({ sub: 's1', username: 'bob', eppn: 'carol@else.example' }, rules, none)).toEqual({
      user: 'bob',
      rule: 2,
    });
    expect(mapUser({ sub: 's1', username: 'bob', eppn: 'carol@uni.example' }, rules, none)).toEqual({
      user: 'carol',
      rule: 1,
    });
    expect(mapUser({ sub: 's1', username: 'b/../ob' }, rules, none)).toEqual({ user: 's1', rule: 3 });
  });

  test('comes of any text of a list', () => {
    const rule: MapRule = { claim: 'eppn', match: '([a-z]+)@uni\\.example' };
    expect(nameOf({ eppn: ['x@else.example', 'alice@uni.example'] }, rule)).toBe('alice');
    expect(nameOf({ eppn: [null, 7, ['eve@uni.example'], { a: 'eve@uni.example' }, 'alice@uni.example'] }, rule)).toBe(
      'alice',
    );
    expect(nameOf({ eppn: ['alice@uni.example', 'alice@uni.example'] }, rule)).toBe('alice');
  });

  test('is none where a list is too long to look at', () => {
    const rule: MapRule = { claim: 'groups', match: '/vo/(.*)' };
    const groups = Array.from({ length: 255 }, (_, index) => `/other/${index}`);
    expect(nameOf({ groups: [...groups, '/vo/pool'] }, rule)).toBe('pool');
    const refused = mapUser({ groups: [...groups, '/vo/pool', '/vo/root'] }, [rule], none);
    expect(refused).toMatchObject({ what: expect.stringMatching(/groups has more than 256 texts$/) });
  });

  test('is none where a list gives two', () => {
    const refused = mapUser({ eppn: ['a@x', 'b@x'] }, [{ claim: 'eppn', match: '(.)@x' }, { claim: 'sub' }], none);
    expect(refused).toMatchObject({ what: expect.stringContaining('several accounts') });
  });

  test('checklist 3: comes of an e-mail address only if that is verified', () => {
    const rule: MapRule = { claim: 'email', match: '([a-z]+)@uni\\.example' };
    const email = 'alice@uni.example';
    expect(nameOf({ email, email_verified: true }, rule)).toBe('alice');
    for (const email_verified of [undefined, false, 'true', 1, null, [true], {}])
      expect(nameOf({ email, email_verified }, rule)).toBeUndefined();
    expect(nameOf({ email }, rule)).toBeUndefined();
    expect(nameOf({ email: [email, 'eve@evil.example'], email_verified: true }, rule)).toBeUndefined();
    expect(mapUser({ email, sub: 's' }, [rule], none)).toMatchObject({ what: expect.stringContaining('not verified') });
  });

  test.each([[undefined], [null], [7], [true], [{ toString: () => 'alice' }], [['alice'].entries()], [[]], [['']]])(
    'is not made of a claim that is %j',
    (sub) => expect(nameOf({ sub }, { claim: 'sub' })).toBeUndefined(),
  );

  test('is not found in what every object has', () => {
    const crafted = JSON.parse('{"__proto__": {"user": "alice"}, "constructor": {"name": "alice"}}') as Claims;
    for (const claim of ['user', 'constructor', 'toString', '__proto__', 'name'])
      expect(nameOf({ ...crafted }, { claim })).toBeUndefined();
    expect(nameOf(Object.create({ user: 'alice' }) as Claims, { claim: 'user' })).toBeUndefined();
  });

  test('is what a map file says', () => {
    const tables = new Map([
      [
        '/etc/map',
        new Map([
          ['http://cilogon.example/users/1', 'alice'],
          ['x', '../etc'],
        ]),
      ],
    ]);
    const rule: MapRule = { claim: 'sub', file: '/etc/map' };
    expect(mapUser({ sub: 'http://cilogon.example/users/1' }, [rule], tables)).toEqual({ user: 'alice', rule: 1 });
    for (const sub of ['x', 'nobody', 'constructor', '__proto__', 'HTTP://cilogon.example/users/1'])
      expect(mapUser({ sub }, [rule], tables)).toHaveProperty('what');
    expect(mapUser({ sub: 'x' }, [{ claim: 'sub', file: '/else' }], tables)).toHaveProperty('what');
  });

  test('and when there is none, the log tells why, and the person only who they are', () => {
    const secret = 'carol@secret.example';
    const rules: MapRule[] = [
      { claim: 'eppn', match: '([a-z]+)@uni\\.example' },
      { claim: 'nick' },
      { claim: 'other' },
    ];
    const refused = mapUser({ preferred_username: 'carol', sub: 's', other: secret, nick: 7 }, rules, none);
    expect(refused).toEqual({
      what: 'none of the 3 rules gives carol an account: there is no claim eppn; nick is no text; rule 3 (other) gives a name that no account can have',
      told: 'you approved as carol, who has no account here',
    });
  });
});

describe('a rule', () => {
  test.each<[MapRule, RegExp]>([
    [{ claim: 'a b' }, /a claim that cannot be: "a b"/],
    [{ claim: 'mail' }, /nobody says that it is verified/],
    [{ claim: 'emails', file: '/x' }, /nobody says that it is verified/],
    [{ claim: 'sub', match: '(' }, /match that is no regular expression: Unterminated group/],
    [{ claim: 'sub', match: 'a)|(?:b' }, /no regular expression: Unmatched '\)'/],
    [{ claim: 'sub', match: '\\' }, /no regular expression/],
    [{ claim: 'sub', match: 'x'.repeat(513) }, /more than 512 characters/],
    [{ claim: 'sub', user: '$1' }, /\$1, which match does not catch/],
    [{ claim: 'sub', match: '(a)', user: '$2' }, /\$2, which match does not catch/],
    [{ claim: 'sub', match: '(a)', user: '$0' }, /\$0, which/],
    [{ claim: 'sub', match: '(a)', user: `\${1}` }, /\$\{1\}, which/],
    [{ claim: 'sub', match: '(?<who>a)', user: `\${whom}` }, /\$\{whom\}, which/],
    [{ claim: 'sub', match: '(a)', user: `\${constructor}` }, /\$\{constructor\}, which/],
    [{ claim: 'sub', match: '(a)', user: '$$1' }, /has a user with \$/],
    [{ claim: 'sub', match: '(a)', user: 'a b' }, /can be no account's name/],
    [{ claim: 'sub', user: 'a/b' }, /can be no account's name/],
  ])('%j is complained of', (rule, words) => {
    expect(ruleTrouble(rule)).toMatch(words);
  });

  test.each<MapRule>([
    { claim: 'sub' },
    { claim: 'https://claims.example/user', file: '/etc/map' },
    { claim: 'wlcg.groups', match: '/(?<vo>[a-z]+)(/.*)?', user: `pool-\${vo}` },
    { claim: 'sub', match: '^alice$' },
  ])('%j is good', (rule) => expect(ruleTrouble(rule)).toBeUndefined());
});

describe('for any claims whatever', () => {
  const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 12 }), fc.stringMatching(/^[a-z]{1,4}(@x\.y)?\n?$/));
  const value = fc.oneof(text, fc.array(fc.oneof(text, fc.anything())), fc.anything());
  const patterns = ['([a-z]+)@x\\.y', '(.*)', '(a|b|[c-z])+', '([^@]+)@?.*', 'x*(?<n>[a-z.]+)', '^(.+)$', 'a|b'];

  test('a name is given only for a value that its pattern fits whole, and can be an account’s', () => {
    fc.assert(
      fc.property(value, fc.constantFrom(...patterns), (sub, match) => {
        const user = nameOf({ sub }, { claim: 'sub', match });
        if (user === undefined) return;
        expect(user).toMatch(/^[A-Za-z0-9_][A-Za-z0-9+=_.-]*$/);
        expect(user).not.toMatch(/\n|\.\.|_$|^\d+$|^root$/);
        // RegExp itself, on patterns that it is quick with.
        const whole = (one: unknown) => typeof one === 'string' && new RegExp(`^(?:${match})$`, 'u').test(one);
        expect((Array.isArray(sub) ? sub : [sub]).some(whole)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test('nothing is thrown, and what is said is one harmless line', () => {
    const claims = fc.dictionary(fc.constantFrom('sub', 'email', 'eppn', 'name', 'email_verified', '__proto__'), value);
    fc.assert(
      fc.property(claims, (given) => {
        const said = mapUser(given, [{ claim: 'eppn' }, { claim: 'email', match: '(.*)@.*' }], none);
        if ('user' in said) return;
        for (const line of [said.what, said.told]) expect(line).not.toMatch(/\p{Cc}|[\u202A-\u202E]/u);
      }),
      { numRuns: 1000 },
    );
  });
});

test('a person is called by the name that they know themselves by', () => {
  expect(shownName({ sub: 's', name: 'N', preferred_username: 'p' })).toBe('p');
  expect(shownName({ sub: 's', name: '\u001b[31m' })).toBe('s');
  expect(shownName({})).toBe('nobody');
});
