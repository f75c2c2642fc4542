import { describe, expect, test } from 'vitest';
import { ownResults } from '../../../src/commands/ensure/own.js';
import { Failed, type FailureKind } from '../../../src/core/failure.js';
import type { Kept } from '../../../src/core/ports.js';
import type { ServiceRequest } from '../../../src/core/request.js';
import type { ProviderNote } from '../../../src/core/snapshot.js';
import { later, seconds } from '../../../src/core/time.js';
import { cilogon, day, hour, icecube, now, warning } from '../../storer/kit.js';

const at = now();
const life = (left: number, of = hour): NonNullable<Kept['token']> => ({
  accessToken: 'secret',
  tokenType: 'Bearer',
  issued: later(at, left - of),
  expires: later(at, left),
  lifeFrom: 'expires_in',
});
const kept = ({
  token = life(hour),
  grant = {},
  ...more
}: Partial<Omit<Kept, 'grant'>> & { grant?: object } = {}): Kept => ({
  provider: 'cilogon',
  grant: { refreshToken: 'secret', ...grant },
  token,
  since: at,
  ...more,
});

interface Scene {
  readonly there?: Kept;
  readonly least?: number;
  /** What a refresh leaves. */
  readonly next?: Kept;
  readonly fails?: FailureKind;
  readonly provider?: ProviderNote;
}

async function ensured(request: Partial<ServiceRequest>, { there, least = 0, next, fails, provider = cilogon }: Scene) {
  let stored = there;
  const refreshed: string[] = [];
  const [result] = await ownResults([{ request: { service: provider.name, ...request }, provider }], {
    config: { providers: new Map(), minimum: seconds(1200), warning },
    store: { load: async () => stored },
    now: () => at,
    least: seconds(least),
    refresh: async (id) => {
      refreshed.push(id);
      if (fails) throw new Failed({ kind: fails, what: 'it said no' });
      stored = next;
    },
  });
  return { result, refreshed };
}

describe('on a machine of one’s own', () => {
  test('what is there is there, and nobody is asked', async () => {
    const { result, refreshed } = await ensured({}, { there: kept() });
    expect([result?.is, refreshed]).toEqual(['there', []]);
    expect(JSON.stringify(result)).not.toContain('secret');
  });

  test('what is not, or no longer, takes a login', async () => {
    expect((await ensured({}, {})).result).toMatchObject({ is: 'login', why: 'you are not logged in to it' });
    const dead = kept({ dead: { since: at, why: 'revoked' } });
    expect((await ensured({}, { there: dead })).result).toMatchObject({ is: 'login', why: 'revoked' });
  });

  test('what no login brings is not had here', async () => {
    expect((await ensured({}, { provider: icecube })).result).toMatchObject({
      is: 'refused',
      failure: { kind: 'unsupported', hint: 'there: submit again: what is needed is asked for anew' },
    });
  });

  test.each<[string, Partial<ServiceRequest>, object, string]>([
    ['other scopes', { scopes: ['b'] }, { scopes: ['a'] }, 'login'],
    ['another audience', { audience: 'https://b' }, { audience: 'https://a' }, 'login'],
    ['an audience where there is none', { audience: 'https://b' }, {}, 'login'],
    ['the audience that is there', { audience: 'https://a' }, { audience: 'https://a' }, 'there'],
    ['the provider’s own scopes by name', { scopes: cilogon.scopes }, {}, 'there'],
    // As login and condor_submit have it.
    ['without what any login brings', { scopes: ['a'] }, { scopes: ['a', 'openid', 'offline_access'] }, 'there'],
    ['nothing in particular', {}, { scopes: ['a'], audience: 'https://a' }, 'there'],
  ])('asked for %s', async (_, request, grant, is) => {
    expect((await ensured(request, { there: kept({ grant }) })).result).toMatchObject({ is });
  });

  test('a token that has ended, or has little left, is fetched anew', async () => {
    for (const left of [-5, 60]) {
      const { result, refreshed } = await ensured({}, { there: kept({ token: life(left) }), next: kept() });
      expect([result?.is, refreshed]).toEqual(['there', ['cilogon']]);
      expect(result).toMatchObject({ health: { life: { expires: later(at, hour) } } });
    }
  });

  test('so is one that lasts less than is wanted; but not where no new one would', async () => {
    const there = kept({ token: life(2000) });
    expect((await ensured({}, { there, next: kept(), least: 3000 })).refreshed).toEqual(['cilogon']);
    expect((await ensured({}, { there, next: kept(), least: 1500 })).refreshed).toEqual([]);
    expect((await ensured({}, { there, next: kept(), least: 2 * hour })).refreshed).toEqual([]);
  });

  test('a refresh that fails: why', async () => {
    const there = kept({ token: life(-5) });
    expect((await ensured({}, { there, fails: 'login-needed' })).result).toMatchObject({
      is: 'login',
      why: 'it said no',
    });
    expect((await ensured({}, { there, fails: 'transient' })).result).toMatchObject({
      is: 'refused',
      failure: { kind: 'transient' },
    });
    expect((await ensured({}, { there })).result).toMatchObject({ is: 'login', why: 'it was removed just now' });
  });

  test('a login that ends soon is told of, with all that it was', async () => {
    const there = kept({ grant: { ends: later(at, day), scopes: ['a'] }, since: later(at, -30 * day) });
    expect((await ensured({}, { there })).result).toMatchObject({
      is: 'there',
      ending: { at: later(at, day), urgent: false, login: { service: 'cilogon', scopes: ['a'] } },
    });
  });
});
