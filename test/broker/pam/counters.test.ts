import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { Counters } from '../../../src/broker/pam/counters.js';
import { handClock, listLog, room } from '../kit.js';

function some() {
  const dir = room();
  const clock = handClock();
  const counters = new Counters(join(dir, 'counters.json'), clock, listLog());
  return { dir, clock, counters, told: () => JSON.parse(readFileSync(join(dir, 'counters.json'), 'utf8')) };
}

test('of many writings at once the last one counts, and nothing comes after it', async () => {
  const { dir, counters, told } = some();
  for (let n = 0; n < 20; n++) {
    counters.count('asked');
    void counters.write();
  }
  counters.count('approved');
  await counters.write();
  expect(told()).toMatchObject({ asked: 20, approved: 1 });
  expect(readdirSync(dir)).toEqual(['counters.json']);
});

test('it is written a second after the first count, also after it was written in between', async () => {
  const { clock, counters, told } = some();
  counters.count('asked');
  await counters.write();
  counters.count('asked');
  clock.advance(1000);
  await vi.waitFor(() => expect(told()).toMatchObject({ asked: 2 }));
});
