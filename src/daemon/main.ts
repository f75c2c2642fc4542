import { existsSync, lstatSync, readdirSync } from 'node:fs';
import { constants } from 'node:os';
import { lastKnobs } from '../config/knobs.js';
import { loadConfig, requireProviders } from '../config/load.js';
import { readSecret } from '../config/secret.js';
import { placesWithin } from '../core/batch.js';
import type { Config } from '../core/config.js';
import { exitCode, Failed, failureOf } from '../core/failure.js';
import type { Http, Log, OtherClient } from '../core/ports.js';
import { findProvider } from '../core/provider.js';
import { epochMs } from '../core/time.js';
import { fetchToken } from '../grants/index.js';
import { jwtClaims } from '../providers/jwt.js';
import { readSshLogins } from '../status/read.js';
import { systemClock as clock } from '../system/clock.js';
import { mostDescriptors } from '../system/descriptors.js';
import { keepHeapSmall } from '../system/heap.js';
import { fileLog, stderrLog, tee } from '../system/log.js';
import { shutIn } from '../system/shut.js';
import { version } from '../system/version.js';
import { AccountNumbers, passwdStamp } from './account-numbers.js';
import { condorKind } from './condor-kind.js';
import { errandOf } from './errand.js';
import { openGroups } from './groups.js';
import { Intake } from './intake.js';
import { Issuers } from './issuers.js';
import { Keeper } from './keeper.js';
import { LoginFiles } from './login-files.js';
import { Metrics, type Usage } from './metrics.js';
import { MetricsFile } from './metrics-file.js';
import { MetricsListener } from './metrics-listener.js';
import { Once } from './once.js';
import { type DaemonOptions, parseOptions, usage } from './options.js';
import { personalKind } from './personal-kind.js';
import { Report } from './report.js';
import { type Daemon, type DaemonParts, runOnce, startDaemon } from './run.js';
import { rememberDead, StatusFiles } from './status-files.js';

/** condor_master's: "cannot open the log" and "do not start me again" (condor_includes/exit.h). */
const exitLog = 44;
const exitNoRestart = 99;

shutIn();
// The session key of condor_master's family is nothing that we, or a child of ours, should have.
delete process.env.CONDOR_PRIVATE_INHERIT;
const underMaster = process.env.CONDOR_INHERIT !== undefined;
/** Its fast shutdown, before there is a daemon to end: left to itself it leaves a core in the folder of logs. */
const atOnce = () => process.exit(underMaster ? 0 : 128 + constants.signals.SIGQUIT);
process.on('SIGQUIT', atOnce);
/** The log file, once it is open. */
let opened: Log | undefined;

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  if (options.version) return void process.stdout.write(`credmond ${version()}\n`);
  if (options.help) return void process.stdout.write(usage);
  const source = {
    env: process.env,
    name: options.name,
    ...(options.config !== undefined && { file: options.config }),
  };
  // condor_credd may send one as soon as our pid is in its file, before there is anything to wake.
  let daemon: Daemon | undefined;
  process.on('SIGHUP', () => daemon?.wake());

  const load = async () => requireProviders(await loadConfig(source), process.env);
  let config = await load();
  let known = fingerprint(config);
  let written = openLog(options, config);
  // Another one when the configuration is: a daemon that runs for months must hear of a new level or file.
  const lines = { error: 0, warning: 0, info: 0 };
  const log: Log = {
    error: (text) => {
      lines.error++;
      written.error(text);
    },
    warn: (text) => {
      lines.warning++;
      written.warn(text);
    },
    info: (text) => {
      lines.info++;
      written.info(text);
    },
    debug: (text) => written.debug(text),
  };
  log.info(
    `credmond ${version()} starts, pid ${process.pid}, configuration from ${config.source}: ${[...config.providers.keys()].join(', ')}`,
  );

  const issuers = new Issuers({
    // Loaded when there is something to ask for: openid-client and undici are half of a start.
    open: async (provider, secret) => (await import('../providers/pelican.js')).openAny(provider, secret, clock),
    secret: readSecret,
    clock,
  });
  const kind = await (options.user ? personalKind : condorKind)(options, () => config, log);
  const groups = openGroups();
  // A refresh that is not all it should be is so each time.
  const warnings = new Once((text) => log.warn(text));
  const keeper: Keeper = new Keeper({
    credentials: kind.credentials,
    clock,
    random: Math.random,
    places: placesWithin(mostDescriptors()),
    log,
    provider: (name) => findProvider(config.providers, name),
    fetch: (provider, grant, errand) => {
      const outside = {
        provider,
        clock,
        minimum: config.minimum,
        issuer: (client: OtherClient | undefined) => issuers.get(provider, client),
        http: async (...call: Parameters<Http>) => (await issuers.get(provider)).http(...call),
        claims: jwtClaims,
        groups,
        warnings,
      };
      return fetchToken(grant, errandOf(outside, errand));
    },
    minimum: () => config.minimum,
    oldest: () => config.refresh,
    remembered: rememberDead(kind.statusDir),
    intents: kind.intents,
    meter: { refreshed: (...what) => metrics.refreshed(...what) },
    changed: (user, news) => report.changed(user, news),
  });
  const metrics: Metrics = new Metrics({
    keeper,
    clock,
    log,
    config: () => config,
    build: { version: version(), node: process.versions.node },
    began: epochMs(clock.now() - process.uptime() * 1000),
    usage: ownUsage,
    lines,
    ssh: () => config.pam && readSshLogins(config.broker.socket),
    file: new MetricsFile(clock),
    listener: new MetricsListener(clock),
  });
  const report: Report = new Report({
    keeper,
    clock,
    log,
    config: () => config,
    numbers: new AccountNumbers({ clock, ask: kind.uidsOf, stamp: passwdStamp }),
    files: new StatusFiles(kind.statusDir, kind.statusGroup),
    unwatched: kind.unwatched,
    ...(kind.logins && {
      logins: new LoginFiles({ dir: kind.statusDir, gid: kind.logins.gid, pid: options.once ? 0 : process.pid }),
    }),
  });
  const intake =
    kind.spool &&
    new Intake({
      ...kind.spool,
      credentials: kind.credentials,
      clock,
      log,
      providers: () => config.providers,
      issuer: (provider, client) => issuers.get(provider, client),
      uidsOf: kind.uidsOf,
      welcome: kind.welcome,
      settled: (user, settled) => report.settled(user, settled),
      passOver: (key) => keeper.passOver(key),
      look: (user) => keeper.look(user),
    });
  const parts: DaemonParts = {
    keeper,
    report,
    metrics,
    intake,
    credentials: kind.credentials,
    clock,
    log,
    sweep: () => config.sweep,
    completed: kind.completed,
    watch: kind.watch,
    many: keepHeapSmall,
    outdated: () => fingerprint(config) !== known,
    reload: async () => {
      const next = await load();
      const print = fingerprint(next);
      if (print === known) return false;
      const before = config.log;
      await kind.reconfigured(next);
      if (JSON.stringify(next.log) !== JSON.stringify(before)) written = openLog(options, next);
      known = print;
      config = next;
      issuers.retire();
      log.info(`the configuration was read again: ${[...config.providers.keys()].join(', ')}`);
      return true;
    },
  };

  // Nothing else need be open all the time; the process must stay all the same.
  const alive = setInterval(() => {}, 1 << 30);
  if (options.once) {
    const bad = await runOnce(parts);
    await kind.release();
    await issuers.clear();
    log.info(
      bad === 0
        ? 'one pass done: every credential is fresh'
        : `one pass done: ${bad} could not be refreshed; see: credmon status`,
    );
    clearInterval(alive);
    process.exitCode = bad === 0 ? 0 : 1;
    return;
  }

  const running = startDaemon(parts);
  daemon = running;
  let stopping: Promise<void> | undefined;
  const stop = (signal: string, fast: boolean) => {
    if (stopping && !fast) return;
    log.info(`${signal}: ending${fast ? ' at once' : ''}`);
    stopping = running
      .stop(fast)
      .then(() => kind.release())
      .then(() => {
        clearInterval(alive);
        log.info('ended');
        process.exit(0);
      });
  };
  process.on('SIGTERM', () => stop('SIGTERM', false));
  process.on('SIGINT', () => stop('SIGINT', false));
  process.on('SIGQUIT', () => stop('SIGQUIT', true));
  process.off('SIGQUIT', atOnce);
}

/** Changes with the configuration and with the secret files that it names. */
function fingerprint(config: Config): string {
  const files = [...config.providers.values()].flatMap(({ secretFile, caFile }) => [secretFile, caFile]);
  const stats = files.map((file) => file && lstatSync(file, { throwIfNoEntry: false }));
  const stamps = stats.map((stat) => stat && `${stat.ino}.${stat.ctimeMs}`);
  return JSON.stringify([{ ...config, providers: [...config.providers] }, stamps]);
}

function openLog(options: DaemonOptions, config: Config): Log {
  const file = options.logFile ?? (options.user ? undefined : config.log.file);
  const settings = { ...config.log, debug: options.debug || config.log.debug };
  const terminal = stderrLog({ debug: settings.debug, program: 'credmond' });
  if (file === undefined) return terminal;
  let log: Log;
  try {
    log = fileLog({ ...settings, file });
  } catch (thrown) {
    throw new Failed({ ...(failureOf(thrown) ?? { kind: 'storage', what: String(thrown) }), code: 'log' });
  }
  opened = log;
  return options.verbose ? tee(log, terminal) : log;
}

function ownUsage(): Usage {
  const { user, system } = process.cpuUsage();
  const told = (ask: () => number): number | undefined => {
    try {
      return ask();
    } catch {
      // There is no /proc, or no descriptor left to read it by.
      return undefined;
    }
  };
  return {
    cpuSeconds: (user + system) / 1e6,
    residentBytes: told(() => process.memoryUsage.rss()),
    // But for the one that the folder itself is read by.
    descriptors: told(() => readdirSync('/proc/self/fd').length - 1),
    mostDescriptors: mostDescriptors(),
  };
}

/** From the one table, except where condor_master has codes of its own. */
function codeFor(thrown: unknown): number {
  const failure = failureOf(thrown);
  if (failure === undefined) return 70;
  if (failure.code === 'log') return exitLog;
  if (failure.code === 'taken') return exitNoRestart;
  const hopeless = failure.kind === 'config' || failure.kind === 'usage';
  return underMaster && hopeless ? exitNoRestart : exitCode(failure);
}

/** Under condor_master standard error leads nowhere, so what ends us is told in the log, wherever that is to be had. */
function masterLog(): Log | undefined {
  if (opened) return opened;
  try {
    const { name, logFile } = parseOptions(process.argv.slice(2));
    const file = logFile ?? lastKnobs()?.get(`${name}_LOG`) ?? usualLog(name);
    return file === undefined ? undefined : fileLog({ file, debug: false, max: 0, keep: 1 });
  } catch {
    return undefined;
  }
}

/**
 * Where the log is unless HTCondor says otherwise, for when it says nothing: condor_master starts its daemons in the folder of
 * logs. Undefined where this does not look like that one.
 */
function usualLog(name: string): string | undefined {
  const log = 'CredMonOAuthLog';
  return name === 'CREDMON_OAUTH' && (existsSync(log) || existsSync('MasterLog')) ? log : undefined;
}

main().catch((thrown) => {
  const failure = failureOf(thrown);
  const what = failure?.what ?? `${(thrown as Error).stack}`;
  stderrLog({ debug: false, program: 'credmond' }).error(what);
  if (failure?.hint) process.stderr.write(`credmond: hint: ${failure.hint}\n`);
  if (underMaster) masterLog()?.error(failure?.hint === undefined ? what : `${what} (${failure.hint})`);
  process.exit(codeFor(thrown));
});
