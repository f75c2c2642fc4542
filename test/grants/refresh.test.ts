import { describe, expect, test } from 'vitest';
import { Failed } from '../../src/core/failure.js';
import { refresh } from '../../src/grants/refresh.js';
import * as fault from '../helpers/faults.js';
import type { FaultyOptions } from '../helpers/faulty.js';
import { keeping } from '../helpers/rotation.js';
import { failureIn, faultyFor, never, open } from '../providers/kit.js';

const nothing = keeping();

describe('a refresh', () => {
  test.each([
    [{}, {}],
    [{ scopes: [] }, {}],
    [
      { scopes: ['a', 'b'], audience: 'https://aud.example' },
      { scope: 'a b', audience: 'https://aud.example' },
    ],
  ])('of a grant with %o', async (wanted, parameters) => {
    const faulty = await faultyFor();
    const refreshToken = faulty.grant();
    await refresh(open({ issuer: faulty.url }), { refreshToken, ...wanted }, nothing, never);
    expect(faulty.requests.at(-1)?.params).toEqual({
      client_id: 'public-cli',
      grant_type: 'refresh_token',
      refresh_token: refreshToken,
      ...parameters,
    });
  });

  test('waits until the new refresh token is kept, before anything is made of the answer', async () => {
    const faulty = await faultyFor();
    faulty.next('token', fault.without('token_type'));
    let keep: () => void = () => {};
    let asked = '';
    const kept = new Promise<void>((resolve) => {
      keep = resolve;
    });
    const rotated = (token: string) => {
      asked = token;
      return kept;
    };
    const outcome = refresh(open({ issuer: faulty.url }), { refreshToken: faulty.grant() }, keeping(rotated), never);
    let judged = false;
    const failed = failureIn(outcome).finally(() => {
      judged = true;
    });
    while (asked === '') await new Promise(setImmediate);
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    expect(judged).toBe(false);
    expect(faulty.accepts(asked)).toBe(true);
    keep();
    expect((await failed).kind).toBe('protocol');
  });

  test('is one request, and is not repeated of itself: the first may have rotated', async () => {
    for (const spoil of [fault.reset, fault.truncated, fault.status(503), fault.malformed]) {
      const faulty = await faultyFor();
      faulty.next('token', spoil);
      await failureIn(refresh(open({ issuer: faulty.url }), { refreshToken: faulty.grant() }, nothing, never));
      expect(faulty.requests.filter(({ endpoint }) => endpoint === 'token')).toHaveLength(1);
      expect(faulty.counts.reuse).toBe(0);
    }
  });

  test('hands over what came with a good answer once', async () => {
    const faulty = await faultyFor();
    const seen: string[] = [];
    const rotated = async (token: string) => void seen.push(token);
    const token = await refresh(
      open({ issuer: faulty.url }),
      { refreshToken: faulty.grant() },
      keeping(rotated),
      never,
    );
    expect(seen).toEqual([token.refreshToken]);
  });
});

describe('what became of the refresh token', () => {
  /** In order: what the rotation was told, and `heard` when the request had come in. */
  async function told(spoil: fault.Fault | undefined, options: FaultyOptions = {}): Promise<string[]> {
    const faulty = await faultyFor(options);
    const said: string[] = [];
    const before = () => faulty.requests.some(({ endpoint }) => endpoint === 'token');
    const rotation = {
      sending: () => void said.push(before() ? 'too late' : 'sending'),
      keep: async () => void said.push('keep'),
      unchanged: (taken: boolean) => void said.push(taken ? 'taken' : 'refused'),
    };
    if (spoil) faulty.next('token', spoil);
    const issuer = open({ issuer: faulty.url });
    await refresh(issuer, { refreshToken: faulty.grant() }, rotation, never).catch((thrown) => {
      if (!(thrown instanceof Failed)) throw thrown;
    });
    return said;
  }

  test.each<[string, fault.Fault | undefined, string[], FaultyOptions?]>([
    ['a new one', undefined, ['sending', 'keep']],
    ['no other, and a token', fault.without('refresh_token'), ['sending', 'taken']],
    ['an empty one', fault.set({ refresh_token: '' }), ['sending', 'taken']],
    ['the same again', undefined, ['sending', 'keep'], { rotate: false }],
    ...['invalid_grant', 'invalid_client', 'slow_down', 'invalid_scope'].map(
      (code) => [code, fault.error(code), ['sending', 'refused']] as [string, fault.Fault, string[]],
    ),
    ['an error with 200', fault.set({ access_token: 1, refresh_token: 1, error: 'x' }), ['sending', 'refused']],
  ])('%s', async (_, spoil, expected, options) => expect(await told(spoil, options)).toEqual(expected));

  test.each([
    fault.reset,
    fault.truncated,
    fault.malformed,
    fault.html,
    fault.status(400),
    fault.status(403),
    fault.status(500),
    fault.status(503, { 'retry-after': '2' }),
    fault.redirect('https://elsewhere.example/token'),
    fault.huge(1),
    { ...fault.error('server_error'), act: ({ send }) => send(500, { error: 'server_error' }) } satisfies fault.Fault,
    fault.without('access_token', 'refresh_token'),
  ])('stays open after $name', async (spoil) => expect(await told(spoil)).toEqual(['sending']));

  test('nothing, where there was no connection, nor a request', async () => {
    const faulty = await faultyFor();
    const said: string[] = [];
    const rotation = {
      ...keeping(),
      sending: () => void said.push('sending'),
      unchanged: (taken: boolean) => void said.push(`${taken}`),
    };
    const [closed, up] = [open({ tokenUrl: `${faulty.url}/token` }), await faultyFor()];
    await faulty.stop();
    expect((await failureIn(refresh(closed, { refreshToken: 'r' }, rotation, never))).kind).toBe('transient');
    expect(said.splice(0)).toEqual(['sending', 'false']);
    up.next('discovery', fault.reset);
    await failureIn(refresh(open({ issuer: up.url }), { refreshToken: 'r' }, rotation, never));
    expect(said).toEqual([]);
  });
});
