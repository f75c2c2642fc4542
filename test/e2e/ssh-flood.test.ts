import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Crowd, openCrowd, type Visit } from './lab/crowd.js';
import {
  type Door,
  doorToml,
  installPam,
  left,
  makeDoor,
  makeThrong,
  people,
  spool,
  startDoor,
  throng,
  throngClaims,
} from './lab/door.js';
import { installCredmon } from './lab/install.js';
import { type IssuerProcess, startIssuerProcess } from './lab/issuer.js';
import { sure, untilTrue } from './lab/point.js';
import { installs, leave, root } from './lab/pool.js';
import { makeHost, newSource, readSshdLog, type Sshd, startSshd } from './lab/ssh.js';

const obstacle = await installs();

/** As many as the broker has places for. */
const most = 200;

let issuer: IssuerProcess;
let sshd: Sshd;
let door: Door;
let crowd: Crowd;

/** One person more at the door. */
let last = 0;
const come = (user: string, from = newSource()): Visit =>
  crowd.start(`${user}-${++last}`, `ssh -b ${from} ${user}@ap1 true`);
const crowdOf = (many: number): Visit[] => Array.from({ length: many }, (_, n) => come(`u${n % throng.length}`));

/** Approves what they see, some at a time, and presses Enter for them once the broker has heard of all. */
async function approve(visits: readonly Visit[]): Promise<void> {
  const codes = new Map(visits.map(({ id, code = '' }) => [code, id.replace(/-.*/, '')]));
  const { logins = 0 } = await issuer.counts();
  const next = codes.entries();
  const phone = async () => {
    for (const [code, login] of next) await issuer.approve(code, login);
  };
  await Promise.all([1, 2, 3, 4].map(phone));
  await untilTrue('all are heard of', async () => ((await issuer.counts()).logins ?? 0) >= logins + codes.size);
  for (const { id } of visits) crowd.enter(id);
  await crowd.until('they are in', () => visits.every(({ ended }) => ended !== undefined));
  expect(visits.filter(({ ended }) => ended !== 0)).toEqual([]);
}

/** Processes of sshd that serve somebody. */
const serving = async () => {
  const { stdout } = await root(`pgrep -x 'sshd|sshd-session|sshd-auth' || :`);
  return stdout.split('\n').filter((pid) => pid !== '' && Number(pid) !== sshd.pid).length;
};

/** Of the broker that serves nobody: open descriptors, and resident memory in MB. */
async function weight(): Promise<{ readonly descriptors: number; readonly mb: number }> {
  await untilTrue('nobody is served', async () => (await serving()) === 0);
  const told = await sure(root(`ls /proc/${door.pid}/fd | wc -l; grep VmRSS /proc/${door.pid}/status`));
  const [descriptors = 0, kb = 0] = [...told.matchAll(/\d+/g)].map(Number);
  return { descriptors, mb: kb / 1024 };
}

describe.skipIf(obstacle)(`${most} ssh logins at once${obstacle ? ` (skipped: ${obstacle})` : ''}`, () => {
  beforeAll(async () => {
    issuer = await startIssuerProcess({ life: 3600, behaviour: { claims: { ...people, ...throngClaims } } });
    await installCredmon();
    await makeHost();
    await makeThrong();
    await makeDoor(doorToml(issuer));
    await installPam();
    sshd = await startSshd();
    door = await startDoor();
    crowd = await openCrowd();
    // As slow as a busy one.
    await issuer.delay(1000);
  });
  afterAll(async () => {
    await crowd?.close();
    await door?.stop();
    await sshd?.stop();
    await leave();
    await issuer?.stop();
  });

  test('all get a code of their own, one more is told to wait, and those who leave make place at once', async () => {
    const visits = crowdOf(most);
    await crowd.until('all have codes', () => visits.every(({ code }) => code));
    expect(new Set(visits.map(({ code }) => code)).size).toBe(most);
    const late = come('alice');
    await crowd.until('it is refused', () => late.ended !== undefined, 5000);
    expect(late).toMatchObject({ ended: 255, said: expect.stringContaining('Too many ssh logins at this machine') });

    const [leaving, staying] = [visits.slice(0, most / 2), visits.slice(most / 2)];
    const all = await serving();
    for (const { id } of leaving) crowd.kill(id);
    await crowd.until('they are gone', () => leaving.every(({ ended }) => ended !== undefined));
    await untilTrue('sshd has their places back', async () => (await serving()) <= all / 2 + 5, 3000);
    const next = come('bob');
    await crowd.until('there is place for others', () => next.code !== undefined, 5000);
    await approve([next]);
    await approve(staying);
    expect((await left()).split('\n').filter((line) => line.startsWith(`${spool}/`)).length).toBeGreaterThanOrEqual(
      throng.length,
    );
    expect(await readSshdLog()).not.toMatch(/drop connection|past MaxStartups/);
  });

  test('one address has 20 places, and others are let in meanwhile', async () => {
    const source = newSource();
    const greedy = Array.from({ length: 28 }, () => come('alice', source));
    await crowd.until('who has a place has a code', () => {
      const refused = greedy.filter(({ ended }) => ended !== undefined);
      return refused.length === 8 && greedy.filter(({ code, ended }) => code && ended === undefined).length === 20;
    });
    for (const { ended, said } of greedy)
      if (ended !== undefined) expect(said).toContain('Too many ssh logins from your address');
    const other = come('bob');
    await crowd.until('another has a code', () => other.code !== undefined);
    await approve([other]);
    const waiting = greedy.filter(({ ended }) => ended === undefined);
    expect(new Set(waiting.map(({ code }) => code)).size).toBe(1);
    await approve(waiting);
  });

  test('afterwards no descriptor is left, and however many come and go the memory is what it was', async () => {
    const before = await weight();
    for (let round = 0; round < 2; round++) {
      const visits = crowdOf(most / 2);
      await crowd.until('all have codes', () => visits.every(({ code }) => code));
      for (const { id } of visits) crowd.kill(id);
    }
    // Connections to the issuer are kept open for a few seconds.
    await untilTrue('no descriptor is left', async () => (await weight()).descriptors <= before.descriptors);
    expect((await weight()).mb - before.mb).toBeLessThan(25);
  });
});
