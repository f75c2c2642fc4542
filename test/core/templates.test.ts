import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Templates } from '../../src/core/provider.js';
import { fillTemplates, groupMap } from '../../src/core/templates.js';

describe('the groups of a user by a map file', () => {
  const map = [
    '# who may what',
    'GSI "/CN=alice" alice',
    '* alice cms,atlas,',
    '*\tbob\tcms',
    '* alice later',
    '* carol',
    '  * dave  ,,  ',
    '* erin one, two',
    '* frank a,a,b # and more',
  ].join('\r\n');
  test.each([
    ['alice', ['cms', 'atlas']],
    ['bob', ['cms']],
    ['carol', []],
    ['dave', []],
    // The third word, as HTCondor's own credmons read it.
    ['erin', ['one']],
    ['frank', ['a', 'b']],
    ['nobody', []],
    ['*', []],
    ['', []],
  ])('%s: %o', (user, groups) => {
    expect(groupMap(map)(user)).toEqual(groups);
  });

  // Unlike HTCondor's: `"a,".split(",")` has an empty group at its end, and a template then names everybody's folder.
  test('have no empty one among them', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(',', 'a', ' ', '*', '\n') }), (text) => {
        expect(groupMap(`* alice ${text}`)('alice')).not.toContain('');
      }),
    );
  });
});

describe('templates', () => {
  const scopesOf = (templates: Partial<Templates>, user = 'alice', ...groups: string[]) => {
    const filled = fillTemplates({ user: 'read:/user/{username}', ...templates }, user, groups);
    return filled.trouble ?? filled.scopes;
  };

  test('are filled in, in their order', () => {
    expect(scopesOf({ user: 'write:/user/{username} read:/user/{username}/{username}' })).toEqual([
      'write:/user/alice',
      'read:/user/alice/alice',
      'condor.user:alice',
    ]);
    expect(scopesOf({ group: 'read:/g/{groupname} w:/g/{groupname}/{username}' }, 'alice', 'cms', 'atlas')).toEqual([
      'read:/user/alice',
      'read:/g/cms',
      'w:/g/cms/alice',
      'read:/g/atlas',
      'w:/g/atlas/alice',
      'condor.user:alice',
    ]);
  });

  test('of WLCG tokens have the scope wlcg', () => {
    for (const version of ['wlcg', 'wlcg:1.0']) expect(scopesOf({ version })).toContain('wlcg');
    for (const version of ['scitokens:2.0', 'wlcg:2']) expect(scopesOf({ version })).not.toContain('wlcg');
  });

  test('name the user percent-encoded', () => {
    expect(scopesOf({}, 'a+b=c_d.e-f')).toContain('condor.user:a%2Bb%3Dc_d.e-f');
  });

  test('are filled in with names alone', () => {
    const filled = fillTemplates({ user: 'r:/{username}', group: 'r:/{groupname}' }, 'alice', [
      'ok',
      '../x',
      'a/b',
      'a%2fb',
      'a b',
      '',
    ]);
    expect(filled).toMatchObject({
      scopes: ['r:/alice', 'r:/ok', 'condor.user:alice'],
      strange: ['../x', 'a/b', 'a%2fb', 'a b', ''],
    });
    for (const user of ['..', 'a/b', '../bob', 'a b', 'a%2fb', '', '{username}', 'alice_'])
      expect(fillTemplates({ user: 'r:/{username}' }, user, []).trouble).toMatch(/user name/);
  });

  test('a name is not filled in again', () => {
    expect(fillTemplates({ user: 'r:/{username}', group: 'r:/{groupname}' }, 'alice', ['{username}'])).toMatchObject({
      strange: ['{username}'],
    });
  });

  test.each(['read:/{user}', 'read:/{}', 'read:/"x"', 'read:/\u00e9', 'a\\b'])('%s is none', (user) => {
    expect(scopesOf({ user })).toMatch(/template that makes no scope/);
  });

  test('whatever the names are, a scope has the segments of its template', () => {
    fc.assert(
      fc.property(fc.string(), fc.array(fc.string()), (user, groups) => {
        const filled = fillTemplates({ user: 'r:/u/{username}/x', group: 'r:/g/{groupname}/x' }, user, groups);
        if (filled.trouble !== undefined) return;
        for (const scope of filled.scopes.slice(0, -1)) expect(scope).toMatch(/^r:\/[ug]\/(?!\.)[A-Za-z0-9+=_.-]+\/x$/);
        expect(filled.scopes.join(' ')).not.toContain('..');
      }),
    );
  });
});
