import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Credentials, Rotation } from '../../src/core/ports.js';
import { later } from '../../src/core/time.js';
import { formatRequest } from '../../src/core/top.js';
import { Intents } from '../../src/daemon/intents.js';
import { type RefreshParts, refreshOnce } from '../../src/daemon/refresh.js';
import { openDir } from '../../src/stores/atomic.js';
import { store } from '../grants/kit.js';
import { type Station, station } from './kit.js';

/** A refresh of alice's, with what was read and what was taken in hand meanwhile. */
async function refresh(handle: string | undefined, origin: boolean) {
  const s = station();
  s.login(s.book().grant());
  store(s, 'cilogon_h', formatRequest({ service: 'cilogon', handle: 'h' }, { from: '' }));
  const steps: string[] = [];
  let most = 0;
  const inHand = new Set<string>();
  const credentials: Credentials = {
    ...s.credentials,
    read: (id) => {
      steps.push(`read ${id.handle ?? '-'}`);
      return s.credentials.read(id);
    },
  };
  const others: RefreshParts['others'] = {
    alone: async (key) => {
      steps.push(`take ${key}`);
      inHand.add(key);
      most = Math.max(most, inHand.size);
      return () => void (inHand.delete(key) && steps.push(`let go ${key}`));
    },
    moved: () => {},
    ended: () => undefined,
    hasEnded: () => {},
  };
  const outcome = await refreshOnce(
    { user: 'alice', service: 'cilogon', ...(handle !== undefined && { handle }) },
    {
      credentials,
      held: new Map(),
      stop: new AbortController().signal,
      others,
      fetch: async (_grant, errand) => {
        if (origin) await errand.origin(undefined);
        const issued = s.clock.now();
        return { accessToken: 'a', tokenType: 'bearer', issued, expires: later(issued, 600), lifeFrom: 'expires_in' };
      },
    },
  );
  expect([outcome.kind, most, inHand.size]).toEqual(['refreshed', 1, 0]);
  return steps;
}

test('a login is read once, with itself in hand', async () => {
  expect(await refresh(undefined, false)).toEqual(['take alice/cilogon', 'read -', 'let go alice/cilogon']);
});

test('one that is made from a login is let go before that is taken in hand, and not read again', async () => {
  expect(await refresh('h', true)).toEqual([
    'take alice/cilogon_h',
    'read h',
    'let go alice/cilogon_h',
    'take alice/cilogon',
    'read -',
    'let go alice/cilogon',
  ]);
});

describe('that the issuer has answered, and is asked for nothing else', () => {
  /** What was done, in order. */
  async function steps(
    top: { readonly scopes?: string },
    answer: (rotation: Rotation) => Promise<void> | void,
    origin?: 'origin',
  ): Promise<readonly string[]> {
    const s = station();
    s.login(s.book().grant(), { ...top });
    if (origin) store(s, 'cilogon_h', formatRequest({ service: 'cilogon', handle: 'h' }, { from: '' }));
    const done: string[] = [];
    const noting =
      <A extends unknown[], R>(step: string, act: (...given: A) => R) =>
      (...given: A): R => {
        done.push(step);
        return act(...given);
      };
    const { credentials } = s;
    await refreshOnce(
      { user: 'alice', service: 'cilogon', ...(origin && { handle: 'h' }) },
      {
        credentials: {
          ...credentials,
          rotate: noting('rotate', (...given) => credentials.rotate(...given).finally(() => void done.push('rotated'))),
          publish: noting('publish', credentials.publish),
        },
        held: new Map(),
        stop: new AbortController().signal,
        answered: () => void done.push('answered'),
        fetch: async (_grant, errand) => {
          await answer(origin ? (await errand.origin(undefined)).rotation : errand.rotation);
          done.push('fetched');
          const issued = s.clock.now();
          return { accessToken: 'a', tokenType: 'bearer', issued, expires: later(issued, 600), lifeFrom: 'expires_in' };
        },
      },
    );
    return done;
  }

  test('is told when the disk has it in hand, and before it is there', async () => {
    expect(await steps({}, ({ keep }) => keep('next'))).toEqual([
      'rotate',
      'answered',
      'rotated',
      'fetched',
      'publish',
    ]);
    expect(await steps({}, ({ unchanged }) => unchanged(true))).toEqual(['answered', 'fetched', 'publish']);
  });

  test('is not told of a refusal, nor where another request may follow', async () => {
    expect(await steps({}, ({ unchanged }) => unchanged(false))).toEqual(['fetched', 'publish']);
    expect(await steps({ scopes: 'read:/' }, ({ keep }) => keep('next'))).toEqual([
      'rotate',
      'rotated',
      'fetched',
      'publish',
    ]);
    expect(await steps({}, ({ keep }) => keep('next'), 'origin')).toEqual(['rotate', 'rotated', 'fetched', 'publish']);
  });
});

describe('a folder that is moved away before its new refresh token is written', () => {
  const id = { user: 'alice', service: 'cilogon' };

  async function moved(back: (s: Station) => void) {
    const s = station();
    s.login('before');
    const intents = new Intents(openDir(s.dir), { clock: s.clock, log: s.log });
    const held: RefreshParts['held'] = new Map();
    const parts = { credentials: s.credentials, held, intents, stop: new AbortController().signal };
    const outcome = await refreshOnce(id, {
      ...parts,
      fetch: async (_grant, { rotation }) => {
        rotation?.sending?.();
        renameSync(join(s.dir, 'alice'), join(s.dir, '.away'));
        back(s);
        await rotation?.keep('after');
        throw new Error('it was kept');
      },
    });
    expect(outcome).toEqual({ kind: 'superseded' });
    return { s, held: held.get('alice/cilogon'), open: [...intents.suspects()] };
  }

  test('has it held, and its intent stays open', async () => {
    const { held, open } = await moved(() => {});
    expect(held).toEqual({ instead: 'before', refreshToken: 'after' });
    expect(open).toEqual(['alice/cilogon']);
  });

  test('and is there again with another login: neither is of any use', async () => {
    const { held, open } = await moved((s) => void s.login('theirs'));
    expect(held).toBeUndefined();
    expect(open).toEqual([]);
  });
});
