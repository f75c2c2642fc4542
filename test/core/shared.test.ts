import { expect, test } from 'vitest';
import { Shared } from '../../src/core/shared.js';

function work() {
  let [finish, fail]: [(text: string) => void, (why: Error) => void] = [() => {}, () => {}];
  let given: AbortSignal | undefined;
  const shared = new Shared((stop) => {
    given = stop;
    return new Promise<string>((resolve, reject) => {
      [finish, fail] = [resolve, reject];
      stop.addEventListener('abort', () => reject(stop.reason), { once: true });
    });
  });
  return { shared, finish: (text: string) => finish(text), fail: (why: Error) => fail(why), stop: () => given };
}

test('all who wait have what comes of it, also who comes later', async () => {
  const { shared, finish } = work();
  const never = new AbortController().signal;
  const waiting = [shared.wait(never), shared.wait(never)];
  finish('done');
  expect(await Promise.all([...waiting, shared.wait(never)])).toEqual(['done', 'done', 'done']);
  expect(shared.isOfNoUse).toBe(false);
});

test('who leaves leaves at once; with the last it is given up', async () => {
  const { shared, stop } = work();
  const [one, other] = [new AbortController(), new AbortController()];
  const waiting = [one, other].map(({ signal }) => shared.wait(signal));
  one.abort(new Error('one'));
  await expect(waiting[0]).rejects.toThrow('one');
  expect([shared.isOfNoUse, stop()?.aborted]).toEqual([false, false]);
  other.abort(new Error('other'));
  await expect(waiting[1]).rejects.toThrow('other');
  expect([shared.isOfNoUse, stop()?.aborted]).toEqual([true, true]);
});

test('what failed is of no use to who comes later, and everybody knows as soon as they are told', async () => {
  const { shared, fail } = work();
  const seen = shared.wait(new AbortController().signal).catch((thrown) => [thrown.message, shared.isOfNoUse]);
  fail(new Error('no'));
  expect(await seen).toEqual(['no', true]);
});
