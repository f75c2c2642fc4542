import { describe, expect, test } from 'vitest';
import { refresh } from '../../src/grants/refresh.js';
import * as fault from '../helpers/faults.js';
import { failureIn, faultyFor, never, open } from '../providers/kit.js';

const nothing = async () => {};

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
    const outcome = refresh(open({ issuer: faulty.url }), { refreshToken: faulty.grant() }, rotated, never);
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
    const token = await refresh(open({ issuer: faulty.url }), { refreshToken: faulty.grant() }, rotated, never);
    expect(seen).toEqual([token.refreshToken]);
  });
});
