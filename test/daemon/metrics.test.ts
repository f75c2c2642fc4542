import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { MetricsSettings } from '../../src/core/config.js';
import type { SshLogins } from '../../src/core/ssh-logins.js';
import { epochMs, seconds } from '../../src/core/time.js';
import type { Counted } from '../../src/daemon/keeper.js';
import { type Meter, Metrics, type MetricsParts } from '../../src/daemon/metrics.js';
import { MetricsFile } from '../../src/daemon/metrics-file.js';
import { handClock } from '../helpers/clock.js';
import { readExposition, sampleOf } from '../helpers/exposition.js';
import { counted, minutes, type Options, provider, station } from './kit.js';

function room(): string {
  const path = mkdtempSync(join(tmpdir(), 'credmon-metrics-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** What a station's keeper does, metered. */
function metered(options: Options = {}, more: Partial<MetricsParts> = {}) {
  const folder = room();
  const meter: Meter = { refreshed: (...what) => metrics.refreshed(...what) };
  const s = station({ ...options, meter });
  const settings: { now: MetricsSettings; ssh: SshLogins | undefined } = {
    now: { file: join(folder, 'credmon.prom') },
    ssh: undefined,
  };
  const metrics: Metrics = new Metrics({
    keeper: s.keeper,
    clock: s.clock,
    log: s.log,
    config: () => ({ providers: s.configured, minimum: s.minimum, metrics: settings.now }),
    build: { version: '1.2.3', node: '20.0.0' },
    began: epochMs(1_000_000),
    usage: () => ({ cpuSeconds: 1.5, residentBytes: undefined, descriptors: 30, mostDescriptors: undefined }),
    lines: { error: 1, warning: 2, info: 3 },
    ssh: () => settings.ssh,
    file: counted(new MetricsFile(s.clock), s.work),
    listener: { listen: async () => {}, close: async () => {} },
    ...more,
  });
  return {
    ...s,
    metrics,
    settings,
    folder,
    /** Everything is looked at, and what is due is tried. */
    async pass() {
      const passed = s.keeper.pass();
      await s.clock.pass(100);
      await passed;
    },
    read: (name = 'credmon.prom') => readExposition(readFileSync(join(folder, name), 'utf8')),
  };
}

describe('what Prometheus is told', () => {
  test('how the credentials of each provider stand, and what came of their refreshes', async () => {
    const s = metered({ providers: [provider('cilogon'), provider('other'), provider('idle')] });
    s.login(s.book().grant());
    s.login(s.book().grant(), { user: 'bob' });
    s.login('of-nobody', { user: 'bob', handle: 'dead' });
    s.book('other').refusal = { kind: 'transient', what: 'busy' };
    s.login(s.book('other').grant(), { service: 'other' });
    s.metrics.begin();
    await s.pass();
    await s.clock.pass(1000);
    const found = s.read();
    const states = (name: string) =>
      Object.fromEntries(
        (found.get('credmon_credentials')?.samples ?? [])
          .filter(({ labels }) => labels.provider === name)
          .map(({ labels, value }) => [labels.state, value]),
      );
    const none = { new: 0, fresh: 0, retrying: 0, 'login-needed': 0, damaged: 0, refused: 0 };
    expect(states('cilogon')).toEqual({ ...none, fresh: 2, 'login-needed': 1 });
    expect(states('other')).toEqual({ ...none, retrying: 1 });
    expect(states('idle')).toEqual(none);
    const outcome = (name: string, outcome: string) =>
      sampleOf(found, 'credmon_refreshes_total', { provider: name, outcome });
    expect([outcome('cilogon', 'ok'), outcome('cilogon', 'invalid_grant'), outcome('cilogon', 'transient')]).toEqual([
      2, 1, 0,
    ]);
    expect(outcome('other', 'transient')).toBe(1);
    expect(outcome('idle', 'ok')).toBe(0);
    const counts = (name: string) =>
      found
        .get('credmon_refresh_duration_seconds')
        ?.samples.find((one) => one.name.endsWith('_count') && one.labels.provider === name)?.value;
    expect([counts('cilogon'), counts('other'), counts('idle')]).toEqual([3, 1, 0]);
    const ends = s.health()?.life?.expires ?? Number.NaN;
    expect(sampleOf(found, 'credmon_access_token_first_expiry_timestamp_seconds', { provider: 'cilogon' })).toBeCloseTo(
      ends / 1000,
      1,
    );
    // There is no token of its.
    const first = found.get('credmon_access_token_first_expiry_timestamp_seconds')?.samples;
    expect(first?.map(({ labels }) => labels.provider)).toEqual(['cilogon']);
    expect(sampleOf(found, 'credmon_access_token_minimum_seconds')).toBe(360);
    expect(sampleOf(found, 'credmon_build_info', { version: '1.2.3', node: '20.0.0' })).toBe(1);
    expect(sampleOf(found, 'credmon_last_collection_timestamp_seconds')).toBeCloseTo(s.clock.now() / 1000, 0);
    expect(sampleOf(found, 'credmon_log_lines_total', { level: 'warning' })).toBe(2);
    expect(sampleOf(found, 'credmon_process_cpu_seconds_total')).toBe(1.5);
    for (const unknown of ['resident_memory_bytes', 'max_fds'])
      expect(found.has(`credmon_process_${unknown}`)).toBe(false);
  });

  test('no name of a user, handle or scope, whatever they are called', async () => {
    const s = metered();
    s.login(s.book().grant(), { user: 'somebody.special', handle: 'my+secret_project', scopes: 'storage.read:/mine' });
    s.metrics.begin();
    await s.pass();
    await s.clock.pass(1000);
    const text = readFileSync(join(s.folder, 'credmon.prom'), 'utf8');
    expect(sampleOf(readExposition(text), 'credmon_credentials', { provider: 'cilogon', state: 'fresh' })).toBe(1);
    expect(text).not.toMatch(/special|my\+secret|storage\.|mine|refresh-\d|access-\d/);
  });

  test('what is due and not done, and for how long', async () => {
    const s = metered();
    s.login(s.book().grant());
    s.metrics.begin();
    await s.pass();
    const held = s.book().hold();
    await s.clock.pass(s.due());
    await held.there;
    await s.clock.pass(20_000);
    const found = s.read();
    expect(sampleOf(found, 'credmon_backlog_credentials', { provider: 'cilogon' })).toBe(1);
    const late = sampleOf(found, 'credmon_backlog_lateness_seconds', { provider: 'cilogon' }) ?? 0;
    expect(late).toBeGreaterThan(4);
    expect(late).toBeLessThanOrEqual(20);
    expect(sampleOf(found, 'credmon_refreshes_in_flight')).toBe(1);
    held.release();
    await s.clock.pass(15_000);
    expect(sampleOf(s.read(), 'credmon_backlog_credentials', { provider: 'cilogon' })).toBe(0);
    expect(sampleOf(s.read(), 'credmon_backlog_lateness_seconds', { provider: 'cilogon' })).toBe(0);
    expect(sampleOf(s.read(), 'credmon_refreshes_in_flight')).toBe(0);
    // It was under way for the twenty seconds that were let go by.
    const slow = s.read().get('credmon_refresh_duration_seconds')?.samples ?? [];
    expect(slow.find(({ labels }) => labels.le === '10')?.value).toBe(1);
    expect(slow.find(({ labels }) => labels.le === '30')?.value).toBe(2);
  });

  test('the first end of those tokens alone that are to be kept fresh', async () => {
    const s = metered();
    s.login(s.book().grant());
    s.metrics.begin();
    await s.pass();
    s.book().life = seconds(7200);
    s.login(s.book().grant(), { user: 'bob' });
    await s.pass();
    await s.clock.pass(1000);
    const first = () =>
      sampleOf(s.read(), 'credmon_access_token_first_expiry_timestamp_seconds', { provider: 'cilogon' });
    const ends = (user: string) => (s.health(`${user}/cilogon`)?.life?.expires ?? Number.NaN) / 1000;
    expect(ends('alice')).toBeLessThan(ends('bob'));
    expect(first()).toBe(ends('alice'));
    // What ends because only alice could bring another would hide that of bob's.
    s.book().refusal = { kind: 'login-needed', what: 'revoked', code: 'invalid_grant' };
    await s.clock.pass(s.due('alice/cilogon') + 1000);
    s.book().refusal = undefined;
    await s.clock.pass(15_000);
    expect(s.health()).toMatchObject({ state: 'login-needed', life: { expires: ends('alice') * 1000 } });
    expect(first()).toBe(ends('bob'));
  });

  test('grants that may be lost, until it is known', async () => {
    const s = metered({ noted: true });
    s.login(s.book().grant());
    const stamp = (await s.credentials.scan('alice')).get('alice/cilogon')?.stamp ?? '';
    s.intents?.sending('alice/cilogon', stamp);
    s.intents?.ended('alice/cilogon');
    const held = s.book().hold();
    s.metrics.begin();
    const passed = s.keeper.pass();
    await s.clock.pass(1000);
    const suspects = () => sampleOf(s.read(), 'credmon_lost_grant_suspects', { provider: 'cilogon' });
    expect(suspects()).toBe(1);
    held.release();
    await s.clock.pass(15_000);
    await passed;
    expect(s.health()?.state).toBe('fresh');
    expect(suspects()).toBe(0);
  });

  test('counted anew each time: what is gone is gone, of a provider that is gone as well', async () => {
    const s = metered({ providers: [provider('cilogon'), provider('other')] });
    s.login(s.book().grant());
    s.login(s.book('other').grant(), { service: 'other' });
    s.metrics.begin();
    await s.pass();
    await s.clock.pass(1000);
    s.configured.delete('other');
    rmSync(s.at('cilogon.top'));
    await s.pass();
    await s.clock.pass(15_000);
    const found = s.read();
    expect(sampleOf(found, 'credmon_credentials', { provider: 'cilogon', state: 'fresh' })).toBe(0);
    expect(found.get('credmon_credentials')?.samples.some(({ labels }) => labels.provider === 'other')).toBe(false);
    // What was counted stays: a counter that shrinks would be taken for a restart.
    expect(sampleOf(found, 'credmon_refreshes_total', { provider: 'other', outcome: 'ok' })).toBe(1);
  });

  test('the last full pass, the configuration and ssh logins, where there are any', async () => {
    const s = metered();
    const text = () => readExposition(s.metrics.text());
    expect(text().has('credmon_last_pass_timestamp_seconds')).toBe(false);
    expect(text().has('credmon_ssh_logins_started_total')).toBe(false);
    expect(text().has('credmon_credentials')).toBe(false);
    s.metrics.passed(2500);
    s.metrics.reloaded(false);
    const counts = { asked: 9, approved: 4, denied: 1, expired: 1, gone: 1, decoys: 1, unavailable: 0, committed: 3 };
    s.settings.ssh = { ...counts, since: epochMs(0) };
    expect(sampleOf(text(), 'credmon_last_pass_timestamp_seconds')).toBe(s.clock.now() / 1000);
    expect(sampleOf(text(), 'credmon_last_pass_duration_seconds')).toBe(2.5);
    expect(sampleOf(text(), 'credmon_config_last_reload_successful')).toBe(0);
    s.metrics.reloaded(true);
    expect(sampleOf(text(), 'credmon_config_last_reload_successful')).toBe(1);
    expect(sampleOf(text(), 'credmon_ssh_logins_started_total')).toBe(9);
    expect(sampleOf(text(), 'credmon_ssh_logins_ended_total', { outcome: 'approved' })).toBe(4);
    expect(sampleOf(text(), 'credmon_ssh_logins_with_credential_total')).toBe(3);
  });

  test('others have their turn while very many are counted', async () => {
    const item: Counted = { provider: 'cilogon', state: 'fresh', due: undefined, expires: epochMs(5000), facts: {} };
    const clock = handClock();
    let [reads, done, turns] = [0, false, 0];
    const metrics = new Metrics({
      keeper: {
        *all() {
          for (let n = 0; n < 100_000; n++) yield item;
        },
        suspected: () => ['cilogon', 'cilogon'],
        backlog: () => ({ waiting: 0, lateMs: 0, inFlight: 0 }),
      },
      // Each look at it is two milliseconds after the one before.
      clock: { ...clock, steady: () => 2 * reads++ },
      log: { error: () => {}, info: () => {} },
      config: () => ({ providers: new Map(), minimum: seconds(0), metrics: { file: '/nowhere/x.prom' } }),
      build: {},
      began: epochMs(0),
      usage: () => ({ cpuSeconds: 0, residentBytes: 0, descriptors: 0, mostDescriptors: 0 }),
      lines: {},
      ssh: () => undefined,
      file: { write: async () => {}, remove: async () => {} },
      listener: { listen: async () => {}, close: async () => {} },
    });
    void metrics.once().then(() => {
      done = true;
    });
    for (; !done; turns++) await turn();
    const found = readExposition(metrics.text());
    expect(sampleOf(found, 'credmon_credentials', { provider: 'cilogon', state: 'fresh' })).toBe(100_000);
    expect(sampleOf(found, 'credmon_lost_grant_suspects', { provider: 'cilogon' })).toBe(2);
    expect(turns).toBeGreaterThan(100);
  });
});

describe('the file', () => {
  test('is written again after a count that failed', async () => {
    let bad = true;
    const all = (): never[] => {
      if (bad) throw new Error('a bug');
      return [];
    };
    const s = metered(
      {},
      { keeper: { all, suspected: () => [], backlog: () => ({ waiting: 0, lateMs: 0, inFlight: 0 }) } },
    );
    s.metrics.begin();
    await s.clock.pass(minutes(2));
    expect(s.log.with('metrics: a bug', 'error')).toHaveLength(1);
    expect(s.read().has('credmon_credentials')).toBe(false);
    bad = false;
    await s.clock.pass(minutes(1));
    expect(s.read().has('credmon_credentials')).toBe(true);
  });

  test('is there soon after the start, then every fifteen seconds, for everybody to read', async () => {
    const s = metered();
    s.metrics.begin();
    const written: number[] = [];
    let before = 0;
    for (let n = 0; n < 120; n++) {
      await s.clock.pass(1000);
      const [name] = readdirSync(s.folder);
      const now = name === undefined ? 0 : (sampleOf(s.read(), 'credmon_last_collection_timestamp_seconds') ?? 0);
      if (now !== before) written.push(n + 1);
      before = now;
    }
    expect(written).toEqual([1, 3, 7, 15, 30, 45, 60, 75, 90, 105, 120]);
    expect(statSync(join(s.folder, 'credmon.prom')).mode & 0o7777).toBe(0o644);
    expect(readdirSync(s.folder)).toEqual(['credmon.prom']);
    await s.metrics.stop();
    await s.clock.pass(minutes(1));
    expect(before).toBe(sampleOf(s.read(), 'credmon_last_collection_timestamp_seconds'));
  });

  test('is tried again where it cannot be written, and the log tells of it once', async () => {
    const s = metered();
    s.settings.now = { file: join(s.folder, 'there', 'credmon.prom') };
    s.metrics.begin();
    await s.clock.pass(minutes(2));
    expect(s.log.with('metrics: ', 'error')).toHaveLength(1);
    expect(s.log.with('does not exist', 'error')).toHaveLength(1);
    mkdirSync(join(s.folder, 'there'));
    await s.clock.pass(minutes(2));
    expect(s.read('there/credmon.prom').size).toBeGreaterThan(10);
    expect(s.log.with('metrics: ').map((line) => line.slice(0, 5))).toEqual(['error', 'info:']);
  });

  test('goes where the configuration says, and does not stay behind with old figures', async () => {
    const s = metered();
    s.metrics.begin();
    await s.clock.pass(1000);
    s.settings.now = { file: join(s.folder, 'other.prom') };
    s.metrics.begin();
    await s.clock.pass(1000);
    expect(readdirSync(s.folder)).toEqual(['other.prom']);
    s.settings.now = {};
    s.metrics.begin();
    await s.clock.pass(minutes(1));
    expect(readdirSync(s.folder)).toEqual([]);
    expect(s.clock.timers).toBe(0);
  });

  test('that is gone with its folder is not missed', async () => {
    const s = metered();
    const folder = join(s.folder, 'there');
    mkdirSync(folder);
    s.settings.now = { file: join(folder, 'credmon.prom') };
    s.metrics.begin();
    await s.clock.pass(1000);
    rmSync(folder, { recursive: true });
    s.settings.now = {};
    s.metrics.begin();
    await s.clock.pass(minutes(1));
    expect(s.log.with('metrics: ')).toEqual([]);
    expect(s.clock.timers).toBe(0);
  });

  test.each([
    ['elsewhere', 'other.prom'],
    ['nowhere', undefined],
  ])('that cannot be removed when the next goes %s is tried again, and the log tells of it once', async (_, next) => {
    const s = metered();
    const old = join(s.folder, 'there', 'credmon.prom');
    mkdirSync(dirname(old));
    s.settings.now = { file: old };
    s.metrics.begin();
    await s.clock.pass(1000);
    rmSync(old);
    // Not to be unlinked, by root neither.
    mkdirSync(old);
    s.settings.now = next === undefined ? {} : { file: join(s.folder, next) };
    s.metrics.begin();
    await s.clock.pass(minutes(2));
    expect(s.log.with('metrics: ', 'error')).toHaveLength(1);
    rmSync(old, { recursive: true });
    writeFileSync(old, 'old figures');
    await s.clock.pass(minutes(1));
    expect(readdirSync(dirname(old))).toEqual([]);
    expect(s.log.with('metrics: ').map((line) => line.slice(0, 31))).toEqual([
      expect.stringMatching(/^error/),
      'info: metrics: the old file is ',
    ]);
    expect(s.clock.timers).toBe(next === undefined ? 0 : 1);
  });

  test('touches nothing else in its folder, and takes away what a crash of ours left there', async () => {
    const s = metered();
    writeFileSync(join(s.folder, 'theirs.prom'), 'theirs');
    const stray = join(s.folder, `.credmon-${'0'.repeat(24)}.tmp`);
    writeFileSync(stray, 'half');
    s.clock.jump(minutes(5));
    s.metrics.begin();
    await s.clock.pass(1000);
    expect(readdirSync(s.folder).sort()).toEqual(['credmon.prom', 'theirs.prom']);
    expect(readFileSync(join(s.folder, 'theirs.prom'), 'utf8')).toBe('theirs');
  });
});

test('without a file or a listener nothing is counted', async () => {
  const s = metered();
  s.settings.now = {};
  s.metrics.begin();
  await s.clock.pass(minutes(1));
  expect(s.clock.timers).toBe(0);
  expect(readExposition(s.metrics.text()).has('credmon_credentials')).toBe(false);
});
