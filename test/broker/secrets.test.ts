import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Failed } from '../../src/core/failure.js';
import { asNobody, brokerOn, handClock, pending, Raw, secrets, type TestBroker, token } from './kit.js';

asNobody();

/** Whatever happens in these tests, no secret is in what clients are told and in what is logged. */
describe('no secret is told', () => {
  let clock: ReturnType<typeof handClock>;
  let broker: TestBroker;
  let raw: Raw;
  beforeEach(async () => {
    clock = handClock();
    broker = await brokerOn({ clock });
    raw = new Raw(broker.socket);
    await raw.prove();
  });
  afterEach(() => {
    const told = `${raw.received}\n${broker.log.lines.join('\n')}`;
    expect(told).toContain('cilogon');
    for (const secret of Object.values(secrets)) expect(told).not.toContain(secret);
  });

  const run = async () => {
    raw.send({ kind: 'login', provider: 'cilogon' });
    const records = [];
    for (let record = await raw.next(); record; record = await raw.next()) {
      records.push(record);
      const state = record.state as { at?: string } | undefined;
      if (state?.at === 'code') {
        await clock.asleep();
        clock.advance(30_000);
      }
    }
    return records;
  };
  const leaky = `POST https://issuer.test/token: refresh_token=${secrets.refresh} device_code=${secrets.device} {"access_token":"${secrets.access}"} client_secret=${secrets.client}`;

  test('of a login that goes well; the spool alone has it', async () => {
    broker.issuer.answers.splice(0, 1, token(clock));
    expect((await run()).at(-2)).toMatchObject({ state: { at: 'done' } });
    const [name = ''] = readdirSync(broker.spoolDir);
    expect(readFileSync(join(broker.spoolDir, name), 'utf8')).toContain(secrets.refresh);
  });

  test('when the issuer’s refusal has it in it', async () => {
    broker.issuer.answers.splice(0, 1, new Failed({ kind: 'refused', what: leaky, hint: leaky }));
    expect((await run()).at(-2)).toMatchObject({ state: { at: 'failed', failure: { kind: 'refused' } } });
  });

  test('when the trouble between two polls has it in it', async () => {
    const trouble = new Failed({ kind: 'transient', what: leaky });
    broker.issuer.answers.splice(0, 1, trouble, pending, token(clock));
    const records = await run();
    expect(records.some(({ state }) => (state as { trouble?: string } | undefined)?.trouble?.includes('POST'))).toBe(
      true,
    );
  });

  test('when it is a bug', async () => {
    broker.issuer.device = async () => {
      throw new Error(leaky);
    };
    expect((await run()).at(-1)).toMatchObject({ kind: 'bye', failure: { what: 'the broker failed at this login' } });
    expect(broker.log.lines.some((line) => line.startsWith('a bug: Error: POST'))).toBe(true);
  });

  test('when it cannot be stored', async () => {
    broker.issuer.answers.splice(0, 1, token(clock));
    rmSync(broker.spoolDir, { recursive: true });
    expect((await run()).at(-2)).toMatchObject({ state: { at: 'failed', failure: { kind: 'storage' } } });
  });

  test('when it is too long to be stored', async () => {
    broker.issuer.answers.splice(0, 1, token(clock, { refreshToken: secrets.refresh.repeat(2000) }));
    expect((await run()).at(-2)).toMatchObject({ state: { at: 'failed', failure: { kind: 'protocol' } } });
  });
});
