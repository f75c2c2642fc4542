import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encode } from '../../../src/broker/pam/records.js';
import { authOf, doorOn } from './kit.js';

test('whatever bytes come, the door stays open, and nobody keeps a place', async () => {
  const door = await doorOn();
  const header = fc
    .tuple(fc.constantFrom(0, 1, 2), fc.constantFrom(1, 2, 3, 4, 64, 66, 9), fc.nat(0xffff))
    .map(([version, type, length]) => Uint8Array.of(version, type, length >> 8, length & 0xff));
  const honest = fc.constantFrom(
    encode(authOf()),
    encode({ kind: 'answer', empty: true }),
    encode({ ...authOf(), kind: 'commit' }),
  );
  const bytes = fc.oneof(fc.uint8Array({ maxLength: 200 }), header, honest);
  await fc.assert(
    fc.asyncProperty(fc.array(bytes, { minLength: 1, maxLength: 6 }), async (chunks) => {
      const module = door.module();
      for (const chunk of chunks) module.send(chunk);
      module.socket.end();
      await module.closed;
      expect(module.told.some((record) => record.kind === 'verdict' && record.result === 'ok')).toBe(false);
    }),
    { numRuns: 150 },
  );
  await door.clock.rest();
  await door.clock.pass(2000);
  expect(door.door.now).toEqual({ places: 0, flows: 0, pending: 0 });
  expect(door.log.lines.filter((line) => line.includes('a bug'))).toEqual([]);
  await door.clock.pass(60_000);
  expect(await door.auth().asked()).toContain('ssh login of alice');
});

test('users, hosts and services may be called whatever the record admits', async () => {
  const door = await doorOn({ places: { perSource: 1000, perPerson: 1000, inAll: 1000, perMinute: 1e6 } });
  const text = (most: number) =>
    fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: most })
      .filter((s) => !/[\p{Cc}\p{Cs}]/u.test(s) && Buffer.byteLength(s) <= most);
  await fc.assert(
    fc.asyncProperty(text(255), text(255), text(64), async (user, rhost, service) => {
      const module = door.auth({ user, rhost, service });
      const asked = await module.asked();
      expect(asked).toMatch(/^[\n\x20-\x7E▀▄█]*$/);
      module.answer();
      await module.asked();
      module.answer();
      const { audit = '' } = await module.verdict();
      expect(audit).toMatch(/^credmon: result=denied user="/);
    }),
    { numRuns: 60 },
  );
  expect(door.issuer.counts.deviceAuthorizations).toBeLessThan(3);
});
