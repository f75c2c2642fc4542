import type { Config } from '../core/config.js';
import { noneYet } from '../core/health.js';
import {
  durations,
  exposition,
  type Family,
  failureOutcome,
  Histogram,
  type RefreshOutcome,
  refreshOutcomes,
  type Sample,
} from '../core/metrics.js';
import type { Clock, Log } from '../core/ports.js';
import { ended, type SshLogins } from '../core/ssh-logins.js';
import type { EpochMs } from '../core/time.js';
import type { Keeper } from './keeper.js';
import type { MetricsFile } from './metrics-file.js';
import type { MetricsListener } from './metrics-listener.js';
import type { Outcome } from './refresh.js';
import { Slices } from './slices.js';

/** All credentials are counted at first after so long, then after twice as long and so on, and at last this often: milliseconds. */
const [soonest, usual] = [1000, 15_000];
/** So many are counted before the clock is looked at. */
const together = 256;

/** Is told what {@link Keeper} does. */
export interface Meter {
  /** A refresh of this provider's is over, and took so many milliseconds. */
  refreshed(provider: string, outcome: RefreshOutcome, ms: number): void;
}

export const outcomeOf = (outcome: Outcome): RefreshOutcome => {
  switch (outcome.kind) {
    case 'refreshed':
      return 'ok';
    case 'gone':
    case 'superseded':
      return 'superseded';
    case 'damaged':
      return 'damaged';
    case 'failed':
      return failureOutcome(outcome.failure);
  }
};

/** What this process takes of the machine. Undefined: that cannot be told. */
export interface Usage {
  /** Of user and system, since it began. */
  readonly cpuSeconds: number;
  readonly residentBytes: number | undefined;
  readonly descriptors: number | undefined;
  readonly mostDescriptors: number | undefined;
}

export interface MetricsParts {
  readonly keeper: Pick<Keeper, 'all' | 'suspected' | 'backlog'>;
  readonly clock: Clock;
  readonly log: Pick<Log, 'error' | 'info'>;
  config(): Pick<Config, 'providers' | 'minimum' | 'metrics'>;
  /** Labels of the build. */
  readonly build: Readonly<Record<string, string>>;
  readonly began: EpochMs;
  usage(): Usage;
  /** Lines of the log so far, by their level. */
  readonly lines: Readonly<Record<string, number>>;
  /** What became of ssh logins; undefined where there are none. */
  ssh(): SshLogins | undefined;
  readonly file: Pick<MetricsFile, 'write' | 'remove'>;
  readonly listener: Pick<MetricsListener, 'listen' | 'close'>;
}

/** One provider's credentials, as they were counted. */
class Tally {
  readonly states = noneYet();
  /** Due by then, and since when the first of them has been. */
  due = 0;
  oldest = Number.POSITIVE_INFINITY;
  /** When the first access token ends that is to be kept fresh. */
  ends = Number.POSITIVE_INFINITY;
  suspects = 0;
}

interface Count {
  readonly at: EpochMs;
  readonly inFlight: number;
  readonly tallies: ReadonlyMap<string, Tally>;
}

/** What came of one provider's refreshes, since we began. */
class Refreshes {
  readonly outcomes = Object.fromEntries(refreshOutcomes.map((outcome) => [outcome, 0])) as Record<
    RefreshOutcome,
    number
  >;
  readonly durations = new Histogram(durations);
}

/**
 * What there is for Prometheus to know. What happens is counted when it does; how all credentials stand is counted anew each
 * time, in slices, so that it cannot drift from the truth. No label holds what a user could choose.
 */
export class Metrics implements Meter {
  readonly #refreshes = new Map<string, Refreshes>();
  #count: Count | undefined;
  #passed: { readonly at: EpochMs; readonly ms: number } | undefined;
  #reloaded = true;
  #pause = soonest;
  #cancel = (): void => {};
  #working: Promise<void> = Promise.resolve();
  #stopped = false;
  /** Where the file is that was written last. */
  #file: string | undefined;
  /** Files of before that are still to be removed: else their last figures would stay there for ever. */
  readonly #stale = new Set<string>();
  readonly #said = new Map<string, string>();

  constructor(private readonly parts: MetricsParts) {}

  refreshed(provider: string, outcome: RefreshOutcome, ms: number): void {
    const refreshes = this.#refreshesOf(provider);
    refreshes.outcomes[outcome]++;
    refreshes.durations.observe(ms / 1000);
  }

  /** A full pass is over, which took so many milliseconds. */
  passed(ms: number): void {
    this.#passed = { at: this.parts.clock.now(), ms };
  }

  /** The configuration was read again; `well` false: it cannot be, and the old one stays. */
  reloaded(well: boolean): void {
    this.#reloaded = well;
  }

  /** From now on they are told of where the configuration says now, until {@link stop}. */
  begin(): void {
    this.#cancel();
    this.#pause = soonest;
    this.#working = this.#working.then(() => this.#open()).then(() => this.#next());
  }

  /** Tells of them now, once. */
  async once(): Promise<void> {
    await this.#tell();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.parts.listener.close();
  }

  /** The text, as of now, but for how all credentials stand: that is as of the last count. */
  text(): string {
    return exposition(this.#families());
  }

  #next(): void {
    if (this.#stopped || (!this.#isWanted() && this.#stale.size === 0)) return;
    this.#cancel();
    this.#cancel = this.parts.clock.after(this.#pause, () => {
      this.#working = this.#working.then(() => this.#tell()).then(() => this.#next());
    });
    this.#pause = Math.min(usual, 2 * this.#pause);
  }

  #isWanted(): boolean {
    const { file, listen } = this.parts.config().metrics;
    return file !== undefined || listen !== undefined;
  }

  async #open(): Promise<void> {
    const { config, listener } = this.parts;
    const { metrics } = config();
    if (this.#file !== undefined) this.#stale.add(this.#file);
    this.#file = undefined;
    if (metrics.file !== undefined) this.#stale.delete(metrics.file);
    await this.#clear();
    await this.#try('listener', () => listener.listen(metrics.listen, () => this.text()));
  }

  async #clear(): Promise<void> {
    for (const path of this.#stale)
      await this.#try('old file', async () => {
        await this.parts.file.remove(path);
        this.#stale.delete(path);
      });
  }

  async #tell(): Promise<void> {
    const { config, file, listener } = this.parts;
    const { metrics } = config();
    if (this.#stopped) return;
    await this.#clear();
    if (!this.#isWanted()) return;
    await this.#try('count', async () => {
      this.#count = await this.#counted();
    });
    const path = metrics.file;
    if (path !== undefined) {
      this.#file = path;
      await this.#try('file', () => file.write(path, this.text()));
    }
    // What kept it from listening may be over.
    if (!this.#stopped) await this.#try('listener', () => listener.listen(metrics.listen, () => this.text()));
  }

  /** What goes wrong there must keep nobody from a token: it is told once, and tried again the next time. */
  async #try(what: 'count' | 'file' | 'old file' | 'listener', work: () => Promise<void>): Promise<void> {
    const { log } = this.parts;
    const said = this.#said.get(what);
    try {
      await work();
      if (said !== undefined) log.info(`metrics: the ${what} is ${what === 'old file' ? 'gone' : 'there again'}`);
      this.#said.delete(what);
    } catch (thrown) {
      const { message } = thrown as Error;
      if (message !== said) log.error(`metrics: ${message}; tried again until it works`);
      this.#said.set(what, message);
    }
  }

  async #counted(): Promise<Count> {
    const { keeper, clock } = this.parts;
    const tallies = new Map<string, Tally>();
    const of = (provider: string): Tally => {
      const known = tallies.get(provider);
      if (known !== undefined) return known;
      const tally = new Tally();
      tallies.set(provider, tally);
      return tally;
    };
    for (const provider of this.parts.config().providers.keys()) of(provider);
    const now = clock.now();
    const slices = new Slices(clock);
    let number = 0;
    for (const { provider, state, due, expires, facts } of keeper.all()) {
      const tally = of(provider);
      tally.states[state]++;
      if (due !== undefined && due <= now) {
        tally.due++;
        if (due < tally.oldest) tally.oldest = due;
      }
      // Of those that only another hand can bring on, and those that nothing brings on, the token ends whatever we do.
      const kept = state === 'fresh' || state === 'retrying' || state === 'new';
      if (expires !== undefined && expires < tally.ends && kept && facts.grant !== 'final') tally.ends = expires;
      if (++number % together === 0) await slices.others();
    }
    for (const provider of keeper.suspected()) of(provider).suspects++;
    return { at: now, inFlight: keeper.backlog().inFlight, tallies };
  }

  #refreshesOf(provider: string): Refreshes {
    const known = this.#refreshes.get(provider);
    if (known !== undefined) return known;
    const refreshes = new Refreshes();
    this.#refreshes.set(provider, refreshes);
    return refreshes;
  }

  *#families(): Iterable<Family> {
    const { build, began, lines } = this.parts;
    yield gauge('build_info', 'Version of credmond and of the Node.js that runs it; always 1.', [
      { value: 1, labels: build },
    ]);
    if (this.#count !== undefined) yield* this.#standing(this.#count);
    yield* this.#refreshing();
    yield* this.#passing();
    yield counter(
      'log_lines_total',
      'Lines in the log of credmond, by level.',
      Object.entries(lines).map(([level, value]) => ({ labels: { level }, value })),
    );
    yield* this.#sshLogins();
    yield gauge('process_start_time_seconds', 'When credmond was started, in seconds since 1970.', one(began / 1000));
    yield* this.#process();
  }

  *#standing({ at, inFlight, tallies }: Count): Iterable<Family> {
    const each = (value: (tally: Tally) => number | undefined): readonly Sample[] =>
      [...tallies].flatMap(([provider, tally]) => {
        const found = value(tally);
        return found === undefined ? [] : [{ labels: { provider }, value: found }];
      });
    yield gauge(
      'last_collection_timestamp_seconds',
      'When the credentials were counted last, in seconds since 1970: if it is long ago, all of this is.',
      one(at / 1000),
    );
    yield gauge(
      'credentials',
      'Credentials by state: see docs/monitoring.md.',
      [...tallies].flatMap(([provider, { states }]) =>
        Object.entries(states).map(([state, value]) => ({ labels: { provider, state }, value })),
      ),
    );
    // A moment and not the seconds until then: those would stand still in a file that is written no more.
    yield gauge(
      'access_token_first_expiry_timestamp_seconds',
      'When the first access token ends that credmond is to keep fresh, in seconds since 1970; absent where there is none.',
      each(({ ends }) => (Number.isFinite(ends) ? ends / 1000 : undefined)),
    );
    yield gauge(
      'access_token_minimum_seconds',
      'What is to be left of each access token at all times: CREDMON_OAUTH_TOKEN_MINIMUM.',
      one(this.parts.config().minimum),
    );
    yield gauge(
      'backlog_credentials',
      'Credentials whose refresh is due and has not ended.',
      each(({ due }) => due),
    );
    yield gauge(
      'backlog_lateness_seconds',
      'For how long the one of these has been due that has waited for longest.',
      each(({ oldest }) => (Number.isFinite(oldest) ? (at - oldest) / 1000 : 0)),
    );
    yield gauge('refreshes_in_flight', 'Refreshes that are under way.', one(inFlight));
    yield gauge(
      'lost_grant_suspects',
      'Credentials whose last refresh has no known end, so that their grant may be lost: credmon status names them.',
      each(({ suspects }) => suspects),
    );
  }

  *#refreshing(): Iterable<Family> {
    // From the beginning, since nothing is known of how fast one grows that has just come up.
    for (const provider of this.parts.config().providers.keys()) this.#refreshesOf(provider);
    const all = [...this.#refreshes];
    yield counter(
      'refreshes_total',
      'Refreshes that have ended: ok, an error code of RFC 6749 section 5.2, or the kind of failure.',
      all.flatMap(([provider, { outcomes }]) =>
        Object.entries(outcomes).map(([outcome, value]) => ({ labels: { provider, outcome }, value })),
      ),
    );
    yield {
      name: 'credmon_refresh_duration_seconds',
      type: 'histogram',
      help: 'How long refreshes took, whatever came of them: the issuer’s answer and the writing of it.',
      samples: all.flatMap(([provider, { durations }]) => [...durations.samples({ provider })]),
    };
  }

  *#passing(): Iterable<Family> {
    if (this.#passed !== undefined) {
      const { at, ms } = this.#passed;
      yield gauge(
        'last_pass_timestamp_seconds',
        'When the last full pass over the credential directory was over, in seconds since 1970; absent before the first.',
        one(at / 1000),
      );
      yield gauge('last_pass_duration_seconds', 'How long that pass took, with what was due then.', one(ms / 1000));
    }
    yield gauge(
      'config_last_reload_successful',
      '1 if the configuration could be read the last time; 0: the one before it is in use.',
      one(this.#reloaded ? 1 : 0),
    );
  }

  *#sshLogins(): Iterable<Family> {
    const ssh = this.parts.ssh();
    if (ssh === undefined) return;
    yield counter('ssh_logins_started_total', 'Logins that sshd has asked the broker for.', one(ssh.asked));
    yield counter(
      'ssh_logins_ended_total',
      'What became of them; decoys: those to accounts that nobody may log in to.',
      ended.map((outcome) => ({ labels: { outcome }, value: ssh[outcome] })),
    );
    yield counter(
      'ssh_logins_with_credential_total',
      'Logins that have left a credential for jobs as well.',
      one(ssh.committed),
    );
  }

  /** Not by their usual names: node_exporter, which reads our file, has those of its own. */
  *#process(): Iterable<Family> {
    const { cpuSeconds, residentBytes, descriptors, mostDescriptors } = this.parts.usage();
    yield counter('process_cpu_seconds_total', 'CPU time of credmond, user and system.', one(cpuSeconds));
    yield gauge('process_resident_memory_bytes', 'Memory of credmond that is in RAM.', one(residentBytes));
    yield gauge('process_open_fds', 'Descriptors that credmond has open.', one(descriptors));
    yield gauge('process_max_fds', 'Descriptors that it may have open.', one(mostDescriptors));
  }
}

const one = (value: number | undefined): readonly Sample[] => (value === undefined ? [] : [{ value }]);

const gauge = (name: string, help: string, samples: readonly Sample[]): Family => ({
  ...{ name: `credmon_${name}`, type: 'gauge' },
  ...{ help, samples },
});

const counter = (name: string, help: string, samples: readonly Sample[]): Family => ({
  ...{ name: `credmon_${name}`, type: 'counter' },
  ...{ help, samples },
});
