import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Health, State } from '../../../src/core/health.js';
import { later } from '../../../src/core/time.js';
import { Ledger } from '../../../src/status/watch/ledger.js';
import { List, orders, type Wish } from '../../../src/status/watch/list.js';
import { isTrouble } from '../../../src/status/watch/row.js';
import { atLeisure, health, hurried, lineOf, start } from './kit.js';

const setUp = () => {
  const list = new List();
  return { list, ledger: new Ledger(start, list) };
};
const all: Wish = { order: 'trouble', trouble: false, text: '' };
const settled = (list: List): void => {
  while (list.work(hurried));
};
const names = (list: List): readonly string[] => list.shown.map(({ user, kind }) => `${user} ${kind.name}`);

describe('a list', () => {
  test('has the worst on top: what may be lost above what is merely tried again, and of equals what ends first', () => {
    const { list, ledger } = setUp();
    const states: readonly [string, Partial<Health>][] = [
      ['fresh', {}],
      ['soon', { life: { issued: start, expires: later(start, 10) } }],
      ['new', { state: 'new' }],
      ['retrying', { state: 'retrying' }],
      ['suspect', { suspect: start }],
      ['refused', { state: 'refused' }],
      ['damaged', { state: 'damaged' }],
      ['dead', { state: 'login-needed', suspect: start }],
    ];
    for (const [user, more] of states) ledger.tell(user, [health(user, more)]);
    settled(list);
    expect(list.shown.map(({ user }) => user)).toEqual([
      'dead',
      'damaged',
      'refused',
      'suspect',
      'retrying',
      'new',
      'soon',
      'fresh',
    ]);
  });

  test.each([
    ['alice', ['alice osdf']],
    ['ALIC', ['alice osdf']],
    ['osdf_r', ['bob osdf_rw']],
    ['needed', ['carol cilogon']],
    ['invalid_grant', ['carol cilogon']],
    ['osdf bob', ['bob osdf_rw']],
    ['lost', ['dave osdf']],
    ['.*', []],
    ['(', []],
  ])('with “%s” in what is shown of them', (text, found) => {
    const { list, ledger } = setUp();
    ledger.tell('alice', [health('alice')]);
    ledger.tell('bob', [health('bob', { handle: 'rw' })]);
    const trouble = { kind: 'login-needed', what: 'the issuer says invalid_grant' } as const;
    ledger.tell('carol', [health('carol', { service: 'cilogon', state: 'login-needed', trouble })]);
    ledger.tell('dave', [health('dave', { suspect: start })]);
    list.wish({ ...all, text });
    settled(list);
    expect(names(list)).toEqual(found);
  });

  test('stays as it was until what has changed is all in its place', () => {
    const { list, ledger } = setUp();
    const users = Array.from({ length: 5000 }, (_, i) => `user${String(i).padStart(4, '0')}`);
    for (const user of users) ledger.add(lineOf(user, health(user)));
    settled(list);
    expect(list.shown).toHaveLength(5000);
    const before = list.shown;
    for (const user of users) ledger.add(lineOf(user, health(user, { state: 'retrying' })));
    list.wish({ ...all, order: 'user' });
    let pieces = 0;
    while (list.work(hurried)) {
      pieces++;
      expect(list.shown).toBe(before);
    }
    // No piece of work is more than a thousand or two.
    expect(pieces).toBeGreaterThan(5);
    expect(list.shown.map(({ user }) => user)).toEqual(users);
  });

  test('another order in the middle of the work is as good as at its end', () => {
    const { list, ledger } = setUp();
    const life = (i: number) => ({ issued: start, expires: later(start, 9000 - i) });
    const users = Array.from({ length: 4000 }, (_, i) => `u${String(i).padStart(4, '0')}`);
    for (const [i, user] of users.entries())
      ledger.add(lineOf(user, health(user, { state: i % 2 ? 'retrying' : 'fresh', life: life(i) })));
    settled(list);
    list.wish({ ...all, order: 'user' });
    list.work(hurried);
    list.work(hurried);
    list.wish({ ...all, trouble: true, text: 'u39' });
    settled(list);
    const expected = users.filter((user, i) => i % 2 === 1 && user.includes('u39')).reverse();
    expect(list.shown.map(({ user }) => user)).toEqual(expected);
  });

  test('whoever types all the time holds up nothing', () => {
    const { list, ledger } = setUp();
    for (let i = 0; i < 20_000; i++) ledger.add(lineOf(`u${i}`, health(`u${i}`)));
    for (let i = 0; i < 30; i++) {
      list.wish({ ...all, text: 'u'.repeat(i % 3) });
      list.work(hurried);
    }
    expect(list.all).toHaveLength(20_000);
  });

  test('of a person with very many, those that are told no more go, and the others stay in their order', () => {
    const { list, ledger } = setUp();
    const told = Array.from({ length: 10_000 }, (_, i) => health('alice', { handle: `h${i}` }));
    for (let i = 0; i < 3; i++) ledger.tell('alice', told);
    ledger.tell('alice', told.slice(5000));
    settled(list);
    expect([list.all.length, ledger.tally.counts().count]).toEqual([5000, 5000]);
    expect(ledger.healthsOf('alice').map(({ handle }) => handle)).toEqual(told.slice(5000).map(({ handle }) => handle));
  });

  test('what is told twice is there once', () => {
    const { list, ledger } = setUp();
    for (let i = 0; i < 2; i++) ledger.tell('alice', [health('alice'), health('alice')]);
    settled(list);
    expect([list.all.length, ledger.tally.counts().count]).toEqual([1, 1]);
  });

  test('of one that stands as it stood, what is said otherwise is taken over', () => {
    const { list, ledger } = setUp();
    const trouble = (what: string) => ({ state: 'retrying', trouble: { kind: 'transient', what } }) as const;
    ledger.tell('alice', [health('alice', trouble('no answer'))]);
    settled(list);
    ledger.tell('alice', [health('alice', trouble('no room'))]);
    settled(list);
    expect(ledger.healthsOf('alice')).toMatchObject([trouble('no room')]);
    expect(list.shown).toHaveLength(1);
  });
});

const states: readonly State[] = ['new', 'fresh', 'retrying', 'login-needed', 'damaged', 'refused'];
const credentials = fc.array(
  fc.record({
    service: fc.constantFrom('osdf', 'cilogon'),
    handle: fc.constantFrom(undefined, 'rw'),
    state: fc.constantFrom(...states),
    ends: fc.integer({ min: 0, max: 50 }),
    due: fc.option(fc.integer({ min: 0, max: 50 }), { nil: undefined }),
    suspect: fc.boolean(),
  }),
  { maxLength: 3 },
);
const step = fc.oneof(
  fc.record({ kind: fc.constant('tell' as const), user: fc.integer({ min: 0, max: 8 }), credentials }),
  fc.record({
    kind: fc.constant('wish' as const),
    order: fc.constantFrom(...orders),
    trouble: fc.boolean(),
    text: fc.constantFrom('', 'u1', 'osdf', 'new'),
  }),
  fc.record({ kind: fc.constant('work' as const), pieces: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ kind: fc.constant('anew' as const), users: fc.array(fc.integer({ min: 0, max: 8 }), { maxLength: 4 }) }),
);

test('whatever comes and in whatever pieces, it is what sorting and filtering all of it at once makes', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { list, ledger } = setUp();
      const truth = new Map<string, readonly Health[]>();
      let wish = all;
      const tell = (user: string, healths: readonly Health[]) => {
        // As the screen does it: what has been read finds its place before more is read.
        settled(list);
        ledger.add(lineOf(user, ...healths));
        if (healths.length > 0) truth.set(user, healths);
        else truth.delete(user);
      };
      for (const one of steps) {
        if (one.kind === 'tell') {
          const user = `u${one.user}`;
          const known = new Map(
            one.credentials.map(({ service, handle, state, ends, due, suspect }) => [
              `${service}${handle}`,
              health(user, {
                service,
                provider: service,
                ...(handle !== undefined && { handle }),
                state,
                life: { issued: start, expires: later(start, ends) },
                due: later(start, due ?? 99),
                ...(suspect && { suspect: start }),
              }),
            ]),
          );
          tell(user, [...known.values()]);
        } else if (one.kind === 'wish') {
          wish = { order: one.order, trouble: one.trouble, text: one.text };
          list.wish(wish);
        } else if (one.kind === 'work') {
          for (let i = 0; i < one.pieces; i++) list.work(hurried);
        } else {
          settled(list);
          ledger.begin();
          const stay = new Set(one.users.map((i) => `u${i}`));
          for (const [user, healths] of truth) if (stay.has(user)) ledger.add(lineOf(user, ...healths));
          while (ledger.end(hurried));
          for (const user of [...truth.keys()]) if (!stay.has(user)) truth.delete(user);
        }
      }
      settled(list);
      // The same in one go.
      const other = setUp();
      for (const [user, healths] of truth) other.ledger.add(lineOf(user, ...healths));
      other.list.wish(wish);
      other.list.work(atLeisure);
      expect(names(list)).toEqual(names(other.list));
      expect(ledger.people).toBe(truth.size);
      const { widths: _, suspected, ...counts } = ledger.tally.counts();
      const { widths: __, suspected: ___, ...expected } = other.ledger.tally.counts();
      const byName = (a: { readonly name: string }, b: { readonly name: string }) => (a.name < b.name ? -1 : 1);
      const ordered = ({ providers, ...rest }: typeof counts) => ({ ...rest, providers: [...providers].sort(byName) });
      expect(ordered(counts)).toEqual(ordered(expected));
      expect(suspected).toHaveLength(Math.min(3, counts.suspects));
      expect(counts.suspects).toBe(list.all.filter(({ suspect }) => suspect).length);
      for (const [state, count] of Object.entries(counts.states))
        expect(count).toBe(list.all.filter((row) => row.state === state).length);
      expect(list.all).toHaveLength([...truth.values()].flat().length);
      if (wish.trouble) expect(list.shown.every(isTrouble)).toBe(true);
      const ranks = list.shown.map(({ rank }) => rank);
      if (wish.order === 'trouble') expect(ranks).toEqual([...ranks].sort((a, b) => a - b));
      for (const [user, healths] of truth)
        for (const told of ledger.healthsOf(user)) {
          const { state, life, due, suspect } = told;
          const there = healths.find(({ service, handle }) => service === told.service && handle === told.handle);
          expect(there).toMatchObject({ state, life, due, ...(suspect && { suspect }) });
        }
    }),
    { numRuns: 300 },
  );
});
