import * as faults from '../helpers/faults.js';
import { type Faulty, startFaulty } from '../helpers/faulty.js';
import type { FaultCall, Orders } from './kit.js';

/*
 * test/helpers/faulty.ts as a process of its own, which lives on when credmond or the test is busy or dead: see issuerProcess
 * in kit.ts. Options come as JSON in the only argument; orders come and are answered over the channel of `fork`.
 */

const faulty: Faulty = await startFaulty(JSON.parse(process.argv[2] ?? '{}'));

const known: Readonly<Record<string, unknown>> = { ...faults };
const faultOf = ([name, ...given]: FaultCall): faults.Fault => {
  const found = known[name];
  if (typeof found !== 'function') return found as faults.Fault;
  return found(...given.map((one) => (Array.isArray(one) ? faultOf(one as unknown as FaultCall) : one)));
};

const orders: Orders = {
  set: (how) => void Object.assign(faulty, how),
  grants: (count, scope) => Array.from({ length: count }, () => faulty.grant(scope)),
  accepts: (tokens) => tokens.map((token) => faulty.accepts(token)),
  generations: (tokens) => tokens.map((token) => faulty.generation(token) ?? null),
  next: (endpoint, calls) => faulty.next(endpoint, ...calls.map(faultOf)),
  always: (endpoint, call) => faulty.always(endpoint, call === null ? undefined : faultOf(call)),
  counts: () => {
    const asked: Record<string, number> = {};
    for (const { endpoint = 'other' } of faulty.requests) asked[endpoint] = (asked[endpoint] ?? 0) + 1;
    return { ...faulty.counts, asked };
  },
};

process.on('message', ({ id, order, given }: { id: number; order: keyof Orders; given: never[] }) => {
  try {
    process.send?.({ id, answer: (orders[order] as (...all: never[]) => unknown)(...given) ?? null });
  } catch (thrown) {
    process.send?.({ id, error: String(thrown) });
  }
});
process.once('disconnect', () => process.exit(0));
process.send?.({ url: faulty.url });
