import { describe, expect, test } from 'vitest';
import { Decoys } from '../../../src/broker/pam/decoys.js';
import { Failed } from '../../../src/core/failure.js';
import type { DeviceCode } from '../../../src/core/ports.js';
import { epochMs, seconds } from '../../../src/core/time.js';
import { handClock } from '../../helpers/clock.js';
import { never } from '../kit.js';
import { doorOn, type Module, type Setting, type SettingOptions } from './kit.js';

const none = [
  ['nobody there', { user: 'mallory' }],
  ['root', { user: 'root' }],
  ['an account of the system', { user: 'daemon' }],
  ['the overflow account', { user: 'nobody' }],
  ['an account without a shell', { user: 'carol' }],
  ['a locked account', { locked: true }],
  ['a name that is a path', { user: '../alice' }],
  ['a uid', { user: '4242' }],
] as const;

/** What a person sees, with all that is new each time taken out. */
const shape = (text: string, user: string) =>
  text
    .replace(user.slice(0, 60), 'USER')
    .replace(/[▀▄█ ]{20,}\n/g, '')
    .replace(/[A-Z]{4}-[A-Z]{4}/g, 'CODE');

/** Until it is asked something; how long that took. */
async function timed(door: Setting, module: Module): Promise<number> {
  const begun = door.clock.steady();
  await door.clock.rest();
  while (module.told.length === 0) await door.clock.pass(50);
  return door.clock.steady() - begun;
}

describe('checklist 5: those who cannot log in', () => {
  test('an issuer that ails while a code is polled for does not tell strangers which account is one', async () => {
    const ill = new Failed({ kind: 'transient', what: 'issuer.test does not answer' });
    const between: NonNullable<SettingOptions['between']> = (issuer) => ({
      ...issuer,
      token: () => Promise.reject(ill),
    });
    const door = await doorOn({ pam: { firstFactor: 'optional' }, between });
    const asked = async (user: string, first: string) => {
      const module = door.auth({ user, first, connection: `c:${user.length}` });
      await module.asked();
      await door.clock.pass(12_000);
      module.answer();
      await door.clock.pass(15_100);
      return shape(await module.asked(), user);
    };
    expect(await asked('alice', '')).toBe(await asked('mallory', ''));
    expect(await asked('alice', 'publickey ssh-ed25519 AAAA')).toContain('Still trying: issuer.test does not answer');
  });

  test.each(none)('%s: no call to the issuer, and a decoy of the same shape at the same time', async (_, who) => {
    const door = await doorOn({
      between: (issuer, clock) => ({
        ...issuer,
        device: (...given) => clock.sleep(seconds(0.7), given[1]).then(() => issuer.device(...given)),
      }),
    });
    const real = door.auth({ connection: 'c:2', rhost: '192.0.2.1' });
    expect(await timed(door, real)).toBe(700);
    const { deviceAuthorizations, polls } = door.issuer.counts;
    const decoy = door.auth({ ...who, rhost: '192.0.2.1' });
    expect(await timed(door, decoy)).toBe(700);
    const [shown, told] = [await real.asked(), await decoy.asked()];
    const name = 'user' in who ? who.user : 'alice';
    expect(shape(told, name)).toBe(shape(shown, 'alice'));
    expect(told).not.toContain(door.codes[0]);
    const code = /code {2}([A-Z]{4}-[A-Z]{4})/.exec(told)?.[1];
    expect(told).toContain(`user_code=${code}`);
    // The same words after Enter, and no approval, ever.
    await decoy.press(door.clock);
    await door.clock.pass(15_100);
    expect(await decoy.asked()).toMatch(/^\nNot approved yet\.\n/);
    decoy.socket.destroy();
    await door.clock.pass(2000);
    expect(door.issuer.counts.deviceAuthorizations).toBe(deviceAuthorizations);
    expect(door.issuer.counts.polls - polls).toBeLessThan(6);
    expect(door.door.counters.get('decoys')).toBe(1);
  });

  test('while the issuer is down they fail as late as the others', async () => {
    let down = false;
    const door = await doorOn({
      between: (issuer, clock) => ({
        ...issuer,
        device: async (...given) => {
          await clock.sleep(seconds(down ? 5 : 0.1), given[1]);
          if (down) throw new Failed({ kind: 'transient', what: 'cannot reach issuer.test' });
          return issuer.device(...given);
        },
      }),
    });
    for (let n = 0; n < 5; n++)
      expect(await timed(door, door.auth({ connection: `c:${n}`, first: `k${n}` }))).toBe(100);
    down = true;
    const real = door.auth({ connection: 'c:6', rhost: '::1' });
    expect(await timed(door, real)).toBe(5000);
    const decoy = door.auth({ connection: 'c:7', user: 'mallory' });
    expect(await timed(door, decoy)).toBe(5000);
    const [{ audit: _, ...one }, { audit: __, ...two }] = [await real.verdict(), await decoy.verdict()];
    expect(two).toEqual(one);
  });

  test('the shape is learnt by a request that belongs to nobody, once', async () => {
    const door = await doorOn();
    const first = door.auth({ user: 'mallory' });
    expect(await first.asked()).toMatch(/code {2}[A-Z]{4}-[A-Z]{4}\n/);
    for (const user of ['trudy', 'eve']) await door.auth({ user, connection: `c:${user}` }).asked();
    expect(door.issuer.counts.deviceAuthorizations).toBe(1);
    await door.clock.pass(59_000);
    expect(door.issuer.counts.polls).toBe(0);
    await door.auth({ user: 'oscar', connection: 'c:5' }).asked();
    expect(door.issuer.counts.deviceAuthorizations).toBe(1);
    await door.clock.pass(2000);
    await door.auth({ user: 'peggy', connection: 'c:6' }).asked();
    expect(door.issuer.counts.deviceAuthorizations).toBe(2);
  });

  test('runs out like a real one, with the same words', async () => {
    const door = await doorOn({ issuer: { deviceCodeTtl: 60 } });
    const [real, decoy] = [door.auth(), door.auth({ user: 'mallory', connection: 'c:2' })];
    await real.asked();
    await decoy.asked();
    await door.clock.pass(61_000);
    real.answer();
    decoy.answer();
    const [{ audit, ...one }, { audit: other, ...two }] = [await real.verdict(), await decoy.verdict()];
    expect(two).toEqual(one);
    // Only the log knows.
    expect(audit).toContain('user="alice" uid="4242"');
    expect(other).toContain('user="mallory"');
    expect(other).toContain('there is no such account');
  });
});

describe('the codes of decoys', () => {
  const code = (userCode: string, linkComplete?: string): DeviceCode => ({
    deviceCode: 'x',
    userCode,
    link: 'https://issuer.test/device',
    ...(linkComplete !== undefined && { linkComplete }),
    expires: epochMs(Date.now() + 600_000),
    interval: 5,
  });
  async function made(real: DeviceCode, count = 20): Promise<readonly DeviceCode[]> {
    const decoys = new Decoys(handClock(), async () => undefined);
    await decoys.observe(0, never, async () => real);
    return Promise.all(Array.from({ length: count }, () => decoys.code(0, never)));
  }

  test.each([
    ['WDJB-MJHT', /^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/],
    ['AEIO-UAEI', /^[A-Z]{4}-[A-Z]{4}$/],
    ['123-456-789', /^\d{3}-\d{3}-\d{3}$/],
    ['k7rt9q', /^[a-z\d]{6}$/],
    ['A4B 9XZ', /^[A-Z\d]{3} [A-Z\d]{3}$/],
  ])('after %s', async (real, fits) => {
    const codes = (await made(code(real))).map(({ userCode }) => userCode);
    for (const one of codes) expect(one).toMatch(fits);
    expect(new Set(codes).size).toBe(20);
  });

  test.each([
    ['https://i.test/d?user_code=WDJB-MJHT', (c: string) => `https://i.test/d?user_code=${c}`],
    ['https://i.test/d/WDJBMJHT', (c: string) => `https://i.test/d/${c.replace('-', '')}`],
  ])('in the link, too: %s', async (link, expected) => {
    for (const { userCode, linkComplete } of await made(code('WDJB-MJHT', link)))
      expect(linkComplete).toBe(expected(userCode));
  });

  test('in a link that has something else in its place', async () => {
    const links = (await made(code('WDJB-MJHT', 'https://i.test/d?t=aZ09xyQ'))).map(({ linkComplete }) => linkComplete);
    for (const link of links) expect(link).toMatch(/^https:\/\/i\.test\/d\?t=[a-z][A-Z]\d\d[a-z][a-z][A-Z]$/);
    expect(new Set(links).size).toBe(20);
  });
});
