import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Failed } from '../../../src/core/failure.js';
import { type Standing, standingText } from '../../../src/core/standing.js';
import { epochMs } from '../../../src/core/time.js';
import { approved, doorOn, phase } from './kit.js';

const lost = new Failed({ kind: 'transient', what: 'cannot reach issuer.test: connection reset' });

describe('the dialogue', () => {
  test('polls while the prompt is open, so that Enter after the approval returns at once', async () => {
    const door = await doorOn();
    const module = door.auth();
    await module.asked();
    await door.clock.pass(12_000);
    expect(door.issuer.counts.polls).toBe(2);
    await door.approve();
    const before = door.clock.steady();
    module.answer();
    expect(await module.verdict()).toMatchObject({ result: 'ok' });
    expect(door.clock.steady()).toBe(before);
  });

  test('bears with those who press Enter before the issuer has told us', async () => {
    const door = await doorOn();
    const module = door.auth();
    await module.asked();
    await module.press(door.clock);
    await door.issuer.approve(door.codes[0] ?? '', { login: 'alice' });
    await door.clock.pass(4000);
    expect(await module.verdict()).toMatchObject({ result: 'ok' });
    expect(module.told).toHaveLength(2);
  });

  test('asks again for the same code 15 s after an Enter without an approval, without a picture', async () => {
    const door = await doorOn();
    const module = door.auth();
    const first = await module.asked();
    expect(first).toMatch(/[▀▄█]/);
    for (let round = 0; round < 3; round++) {
      await module.press(door.clock);
      const { length } = module.told;
      await door.clock.pass(14_900);
      expect(module.told).toHaveLength(length);
      await door.clock.pass(200);
      const again = await module.asked();
      expect(again).toMatch(/^\nNot approved yet\.\n/);
      expect(again).toContain(door.codes[0]);
      expect(again).toMatch(/Approve it there, then press Enter: $/);
      expect(again).not.toMatch(/[▀▄█]/);
    }
    expect(door.codes).toHaveLength(1);
    await door.approve();
    module.answer();
    expect(await module.verdict()).toMatchObject({ result: 'ok' });
  });

  test('says what ails when the issuer cannot be reached meanwhile, and goes on', async () => {
    let down = false;
    const door = await doorOn({
      between: (issuer) => ({
        ...issuer,
        token: (...given) => (down ? Promise.reject(lost) : issuer.token(...given)),
      }),
    });
    const module = door.auth();
    await module.asked();
    down = true;
    await door.clock.pass(10_000);
    module.answer();
    await door.clock.rest();
    await door.clock.pass(15_000);
    expect(await module.asked()).toContain('Still trying: cannot reach issuer.test: connection reset');
    down = false;
    await door.issuer.approve(door.codes[0] ?? '', { login: 'alice' });
    await door.clock.pass(60_000);
    module.answer();
    expect(await module.verdict()).toMatchObject({ result: 'ok' });
  });

  test('two instant empty answers: nobody is there, and it fails fast with advice', async () => {
    const door = await doorOn();
    const module = door.auth();
    await module.asked();
    module.answer();
    expect(await module.asked()).toMatch(/^That came before anybody could read it\. .* then press Enter: $/);
    module.answer();
    const { text, result } = await module.verdict();
    expect(result).toBe('denied');
    expect(text).toContain('Nobody can answer here');
    expect(text).toContain('ControlMaster');
    expect(door.clock.steady()).toBe(0);
  });

  test('one instant answer is forgiven, and so is one that is not empty', async () => {
    const door = await doorOn();
    const module = door.auth();
    await module.asked();
    module.answer();
    await module.asked();
    await module.press(door.clock);
    await door.approve();
    expect(await module.verdict()).toMatchObject({ result: 'ok' });
    const typing = door.auth({ connection: 'c:2' });
    for (let i = 0; i < 3; i++) {
      await typing.asked();
      typing.answer(false);
      await door.clock.rest();
      await door.clock.pass(15_000);
    }
    await typing.asked();
  });

  test('ends before the module’s time does; what is approved later counts for nothing', async () => {
    const door = await doorOn();
    const module = door.auth({ seconds: 60 });
    await module.asked();
    await door.clock.pass(58_000);
    expect(door.door.now.flows).toBe(0);
    const { polls } = door.issuer.counts;
    await door.approve();
    expect(door.issuer.counts.polls).toBe(polls);
    module.answer();
    expect(await module.verdict()).toMatchObject({ result: 'denied', text: expect.stringContaining('in time') });
    expect(await phase(door, 'account')).toMatchObject({ result: 'denied' });
  });

  test('lasts no longer than an hour', async () => {
    const door = await doorOn({
      issuer: { deviceCodeTtl: 7200 },
      between: (issuer) => ({
        ...issuer,
        device: async (...given) => ({ ...(await issuer.device(...given)), interval: 600 }),
      }),
    });
    const module = door.auth({ seconds: 9999, face: 'live' });
    await module.next();
    await door.clock.pass(3600_000);
    expect(await module.verdict()).toMatchObject({ result: 'denied' });
    expect(door.door.now).toMatchObject({ flows: 0 });
  });
});

describe('where sshd shows text at once', () => {
  test('nothing is asked, and the verdict comes by itself', async () => {
    const door = await doorOn();
    const module = door.auth({ face: 'live' });
    const shown = await module.next();
    expect(shown).toMatchObject({ kind: 'show' });
    const { text = '' } = shown as { text?: string };
    // What older clients show of it: OpenSSH 9.2 cuts at 1024 bytes and writes what is not ASCII as octal numbers.
    expect(text).toMatch(/^[\n\x20-\x7E]{1,900}$/);
    expect(text).toMatch(
      /^Open this link in a browser on any device: \nhttp\S+ \nand check it shows the code {2}\S+ \n/,
    );
    expect(text).toContain('ssh login of alice');
    await door.approve();
    expect(await module.verdict()).toEqual({ kind: 'verdict', result: 'ok', user: 'alice' });
    expect(module.told).toHaveLength(2);
  });

  test('the picture comes apart and last, and only where it is wanted always', async () => {
    const door = await doorOn({ pam: { qr: 'always' } });
    const module = door.auth({ face: 'live' });
    expect(await module.next()).toMatchObject({ kind: 'show', text: expect.stringContaining('Open this link') });
    expect(await module.next()).toMatchObject({ kind: 'show', text: expect.stringMatching(/^[\n ▀▄█]+$/) });
  });
});

describe('seed', () => {
  const well = (door: Awaited<ReturnType<typeof doorOn>>, line: string) => {
    const folder = join(door.statusDir, 'login');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'alice'), line);
  };

  const good: Standing = { state: 'ok', what: '', command: '', good: ['other', 'cilogon'] };

  test('is silent for those who have a good login there', async () => {
    const door = await doorOn();
    const soon = { until: epochMs(door.clock.now() + 60_000) };
    // What is amiss with another provider's is not mended by this one.
    for (const standing of [good, { ...good, ...soon }, { ...good, state: 'login' as const, what: 'x' }]) {
      well(door, standingText(standing, 17));
      expect(await door.auth({ mode: 'seed' }).verdict()).toEqual({ kind: 'verdict', result: 'ignore' });
    }
    expect(door.issuer.counts.discoveries).toBe(0);
    // That somebody has one lets nobody in.
    const module = door.auth();
    await module.asked();
  });

  test.each([
    standingText({ ...good, until: epochMs(1e9) }, 17),
    standingText({ ...good, good: ['other'] }, 17),
    standingText({ ...good, good: [] }, 17),
    standingText(good, 17).replace(/^1/, '2'),
    '1 ok 0 17',
    'rubbish',
    '',
  ])('offers a login after "%s"', async (line) => {
    const door = await doorOn();
    well(door, line);
    expect(await door.auth({ mode: 'seed' }).asked()).toContain('ssh login of alice');
  });

  test('lets root and the system’s accounts alone', async () => {
    const door = await doorOn();
    for (const user of ['root', 'daemon', 'carol', 'mallory'])
      expect(await door.auth({ mode: 'seed', user }).verdict()).toEqual({ kind: 'verdict', result: 'ignore' });
    expect(await door.auth({ mode: 'seed', locked: true }).verdict()).toMatchObject({ result: 'ignore' });
  });

  test('asks also where text is shown at once, and Enter alone goes on without', async () => {
    const door = await doorOn();
    const module = door.auth({ mode: 'seed', face: 'live' });
    expect(await module.asked()).toMatch(/press Enter \(Enter alone goes on without\): $/);
    await module.press(door.clock);
    await door.clock.pass(6000);
    expect(await module.verdict()).toMatchObject({ result: 'denied', text: expect.stringContaining('credmon login') });
    expect(await phase(door, 'commit', { mode: 'seed' })).toMatchObject({ result: 'ignore' });
  });

  test('says nothing where nobody can read it: scp, rsync, git', async () => {
    const door = await doorOn();
    const module = door.auth({ mode: 'seed' });
    await module.asked();
    module.answer();
    expect(await module.verdict()).toEqual({ kind: 'verdict', result: 'ignore' });
    expect(door.clock.steady()).toBe(0);
  });

  test('hands over what is approved, when the session is opened', async () => {
    const door = await doorOn();
    expect(await approved(door, 'alice', door.auth({ mode: 'seed' }))).toMatchObject({ result: 'ok' });
    expect(await phase(door, 'commit', { mode: 'seed' })).toMatchObject({ result: 'ok' });
    expect(door.grants()).toMatchObject([{ user: 'alice' }]);
  });
});
