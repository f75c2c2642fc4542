import { readFileSync } from 'node:fs';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Provider } from '../../src/core/provider.js';
import { seconds } from '../../src/core/time.js';
import { openIssuer } from '../../src/providers/issuer.js';
import { error, type Fault, hang, set, tokenFaults, without } from '../helpers/faults.js';
import { type FaultyOptions, startFaulty } from '../helpers/faulty.js';
import { counted, hours, minutes, provider, station } from './kit.js';

/** A keeper over HTTP with the faulty issuer; one credential that has its first token. */
async function open(options: FaultyOptions = {}, more: Partial<Provider> = {}) {
  let waits = true;
  const faulty = await startFaulty(options);
  onTestFinished(() => faulty.stop());
  const s = station({
    providers: [provider('cilogon', { issuer: faulty.url, clientId: 'public-cli', ...more })],
    issuer: (one, clock) => {
      const issuer = openIssuer(one, undefined, clock);
      onTestFinished(() => issuer.close());
      // Time stands still while a request is under way.
      return waits ? counted(issuer, s.work) : issuer;
    },
  });
  s.login(faulty.grant());
  await s.keeper.sweep();
  await s.clock.pass(1);
  expect(s.health()).toMatchObject({ state: 'fresh' });
  const goOn = () => {
    waits = false;
  };
  return { ...s, faulty, goOn };
}

const tokens = (requests: readonly { endpoint: unknown }[]) => requests.filter(({ endpoint }) => endpoint === 'token');

/** What the issuer has replaced without our being able to know by what: no client in the world survives that. */
const lostOnTheWay = (fault: Fault): boolean =>
  fault.processed &&
  ['reset', 'truncated', 'hang', 'malformed JSON', 'without refresh_token', 'with {"refresh_token":""}'].includes(
    fault.name,
  );

describe('nothing is lost', () => {
  test.each(tokenFaults.filter((fault) => fault.name !== 'hang').map((fault) => [fault.name, fault] as const))(
    '%s',
    async (_, fault) => {
      const { clock, faulty, health, due, top, use, log, at } = await open();
      const before = { top: readFileSync(at('cilogon.top'), 'utf8'), use: readFileSync(at('cilogon.use'), 'utf8') };
      faulty.next('token', fault);
      await clock.pass(due());
      expect(tokens(faulty.requests)).toHaveLength(2);
      expect(faulty.requests.at(-1)?.fault).toBe(fault.name);
      // Whatever became of it, what lies there is whole.
      const after = { top: top(), use: use() };
      expect(after.top).toMatch(/^refresh-/);
      expect(after.use.access_token).toMatch(/^access-/);
      if (lostOnTheWay(fault)) {
        const kept = fault.name.includes('refresh_token');
        expect(readFileSync(at('cilogon.top'), 'utf8')).toBe(before.top);
        if (!kept) expect(readFileSync(at('cilogon.use'), 'utf8')).toBe(before.use);
        await clock.pass(hours(24));
        expect(health()).toMatchObject({ state: 'login-needed', trouble: { hint: 'run: credmon login cilogon' } });
        expect(tokens(faulty.requests)).toHaveLength(3);
        return;
      }
      expect([fault.name, faulty.accepts(after.top)]).toEqual([fault.name, true]);
      expect(faulty.counts.reuse).toBe(0);
      if (fault.name === 'invalid_grant') return expect(health()?.state).toBe('login-needed');
      await clock.pass(hours(3));
      expect([fault.name, health()?.state, faulty.accepts(top())]).toEqual([fault.name, 'fresh', true]);
      expect(faulty.counts.reuse).toBe(0);
      const secret = /(?:refresh|access)-[\w-]{22}/;
      expect(log.lines.join('\n')).not.toMatch(secret);
      expect(JSON.stringify(health())).not.toMatch(secret);
    },
  );

  test('hang, and a daemon that is told to end meanwhile: it ends, and the files are whole', async () => {
    const { clock, faulty, keeper, goOn, due, at, health } = await open();
    const before = ['cilogon.top', 'cilogon.use'].map((name) => readFileSync(at(name), 'utf8'));
    faulty.next('token', hang);
    goOn();
    await clock.pass(due());
    await vi.waitUntil(() => tokens(faulty.requests).length === 2, { interval: 1 });
    await Promise.all([keeper.close(seconds(0)), clock.pass(0)]);
    expect(['cilogon.top', 'cilogon.use'].map((name) => readFileSync(at(name), 'utf8'))).toEqual(before);
    expect(health()?.state).toBe('retrying');
  });

  test('one fault after the other, for a day', async () => {
    const { clock, faulty, health, top } = await open();
    const harmless = tokenFaults.filter(
      (fault) => !lostOnTheWay(fault) && !['hang', 'invalid_grant'].includes(fault.name),
    );
    for (const fault of harmless) {
      faulty.next('token', fault);
      await clock.pass(minutes(45));
    }
    await clock.pass(hours(1));
    expect(health()?.state).toBe('fresh');
    expect(faulty.accepts(top())).toBe(true);
    expect(faulty.counts.reuse).toBe(0);
  });

  test('status 400 for ever: three tries, then a login is asked for', async () => {
    const { clock, faulty, health, due } = await open();
    faulty.always('token', tokenFaults.find(({ name }) => name === 'status 400') as Fault);
    await clock.pass(due());
    await clock.pass(hours(24));
    expect(health()?.state).toBe('login-needed');
    expect(tokens(faulty.requests)).toHaveLength(4);
  });
});

describe('issuers of every kind', () => {
  test('one that does not rotate', async () => {
    const { clock, faulty, top } = await open({ rotate: false });
    const before = top();
    await clock.pass(hours(6));
    expect(faulty.counts.refreshes).toBeGreaterThan(6);
    expect(top()).toBe(before);
  });

  test('one that does not tell how long a token lives: as configured, else 20 minutes', async () => {
    for (const [life, expected] of [
      [undefined, 1200],
      [7200, 7200],
    ] as const) {
      const { clock, faulty, health, due, use, log } = await open(
        {},
        life === undefined ? {} : { life: seconds(life) },
      );
      faulty.next('token', without('expires_in'));
      await clock.pass(due());
      expect(use().expires_in).toBe(expected);
      const { issued = 0, expires = 0 } = health()?.life ?? {};
      expect((expires - issued) / 1000).toBe(expected);
      expect(log.with('cilogon_TOKEN_LIFETIME', 'warn')).toHaveLength(life === undefined ? 1 : 0);
    }
  });

  test('one that quotes in its refusal what it was sent', async () => {
    const { clock, faulty, health, due, top, log } = await open();
    const sent = top();
    faulty.next('token', error('invalid_request', `the refresh token ${sent} is not to my liking`));
    await clock.pass(due());
    expect(health()?.trouble?.what).toContain('is not to my liking');
    expect(JSON.stringify(health()) + log.lines.join('\n')).not.toContain(sent);
  });

  test('one that grants fewer scopes than before', async () => {
    const { clock, faulty, health, due, log } = await open({}, { scopes: ['openid', 'storage.read:/'] });
    faulty.next('token', set({ scope: 'openid' }));
    await clock.pass(due());
    expect(health()).toMatchObject({ state: 'fresh', missing: ['storage.read:/'] });
    expect(log.with('no longer grants storage.read:/', 'warn')).toHaveLength(1);
  });

  test('one that sends a refresh token which nobody could read back: it is told, others go on, a login brings it back', async () => {
    const { keeper, clock, faulty, health, due, top, login, log } = await open();
    const before = top();
    login(faulty.grant(), { user: 'bob' });
    await keeper.look('bob');
    faulty.next('token', without(''), set({ refresh_token: 'x'.repeat(70_000) }));
    await clock.pass(due());
    const told = /^the issuer sent a refresh token that cannot be kept: 70000 characters/;
    expect(health()).toMatchObject({
      state: 'retrying',
      trouble: { kind: 'protocol', what: expect.stringMatching(told) },
    });
    expect(top()).toBe(before);
    // Nothing is held that would be tried to be written for ever, nor does anybody else's wait for that.
    await clock.pass(hours(2));
    expect(log.with('cannot be kept')).toHaveLength(1);
    expect(health('bob/cilogon')).toMatchObject({ state: 'fresh' });
    expect(health()).toMatchObject({ state: 'login-needed', trouble: { hint: 'run: credmon login cilogon' } });
    login(faulty.grant());
    await keeper.look('alice');
    await clock.pass(1);
    expect(health()).toMatchObject({ state: 'fresh' });
    await keeper.close(seconds(0));
    expect(log.with('is lost')).toEqual([]);
  });
});
