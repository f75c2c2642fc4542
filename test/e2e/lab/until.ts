import { setTimeout as pause } from 'node:timers/promises';

/** Asks again and again until there is an answer. After `limit` milliseconds it throws what `late` says. */
export async function until<T>(
  ask: () => Promise<T | undefined>,
  limit: number,
  late: () => string | Promise<string>,
  every = 50,
): Promise<T> {
  const deadline = performance.now() + limit;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > deadline) throw new Error(await late());
    await pause(every);
  }
}
