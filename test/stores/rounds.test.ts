import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Rounds } from '../../src/stores/rounds.js';

function files(count: number): readonly number[] {
  const dir = mkdtempSync(join(tmpdir(), 'credmon-rounds-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return Array.from({ length: count }, (_, n) => {
    const fd = openSync(join(dir, `${n}`), 'w');
    onTestFinished(() => closeSync(fd));
    return fd;
  });
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('fsyncs in rounds', () => {
  test('whoever asks in mid-round has to wait for its end, and so does what should not come in between', async () => {
    const [a = 0, b = 0, c = 0] = files(3);
    const rounds = new Rounds();
    const order: string[] = [];
    expect(rounds.calm()).toBeUndefined();
    const first = [a, b].map((fd) => rounds.sync(fd).then(() => order.push('first')));
    // It begins with the next turn, for all who ask in this one.
    expect(rounds.calm()).toBeUndefined();
    await turn();
    const calm = rounds.calm();
    expect(calm).toBeInstanceOf(Promise);
    const second = rounds.sync(c).then(() => order.push('second'));
    const waited = calm?.then(() => order.push(rounds.calm() === undefined ? 'calm' : 'not calm'));
    await Promise.all([...first, second, waited]);
    expect(order).toEqual(['first', 'first', 'calm', 'second']);
    expect(rounds.calm()).toBeUndefined();
  });

  test('one that fails fails alone, and the round after it begins all the same', async () => {
    const [a = 0, b = 0] = files(2);
    const rounds = new Rounds();
    const none = 0x7fffffff;
    const came = await Promise.allSettled([a, none, b].map((fd) => rounds.sync(fd)));
    expect(came.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(came[1]).toMatchObject({ reason: { code: 'EBADF' } });
    await rounds.sync(a);
  });
});
