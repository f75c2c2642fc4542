import { lstatSync } from 'node:fs';
import { readKnobs } from '../config/knobs.js';
import { loadConfig, requireProviders } from '../config/load.js';
import { readSecret } from '../config/secret.js';
import type { Config } from '../core/config.js';
import { exitCode, Failed, failureOf } from '../core/failure.js';
import type { Log } from '../core/ports.js';
import { findProvider } from '../core/provider.js';
import { refresh } from '../grants/refresh.js';
import { systemClock as clock } from '../system/clock.js';
import { fileLog, stderrLog, tee } from '../system/log.js';
import { version } from '../system/version.js';
import { condorKind } from './condor-kind.js';
import { Intake } from './intake.js';
import { Issuers } from './issuers.js';
import { Keeper } from './keeper.js';
import { type DaemonOptions, parseOptions, usage } from './options.js';
import { personalKind } from './personal-kind.js';
import { Report } from './report.js';
import { type Daemon, type DaemonParts, runOnce, startDaemon } from './run.js';
import { rememberDead, writeStatus } from './status-files.js';

/** condor_master's: "cannot open the log" and "do not start me again" (condor_includes/exit.h). */
const exitLog = 44;
const exitNoRestart = 99;

// The session key of condor_master's family is nothing that we, or a child of ours, should have.
delete process.env.CONDOR_PRIVATE_INHERIT;
const underMaster = process.env.CONDOR_INHERIT !== undefined;
/** The log file, once it is open. */
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
  const log: Log = {
    error: (text) => written.error(text),
    warn: (text) => written.warn(text),
    info: (text) => written.info(text),
    debug: (text) => written.debug(text),
  };
  log.info(
    `credmond ${version()} starts, pid ${process.pid}, configuration from ${config.source}: ${[...config.providers.keys()].join(', ')}`,
  );

  const issuers = new Issuers({
    // Loaded when there is something to ask for: openid-client and undici are half of a start.
    open: async (provider, secret) => (await import('../providers/issuer.js')).openIssuer(provider, secret, clock),
    secret: readSecret,
    clock,
  });
  const kind = await (options.user ? personalKind : condorKind)(options, () => config, log);
  const keeper: Keeper = new Keeper({
    credentials: kind.credentials,
    clock,
    random: Math.random,
    log,
    provider: (name) => findProvider(config.providers, name),
    issuer: (provider, client) => issuers.get(provider, client),
    grant: refresh,
    minimum: () => config.minimum,
    remembered: rememberDead(kind.statusDir),
    changed: (user) => report.changed(user),
  });
  const report: Report = new Report({
    keeper,
    clock,
    log,
    uidsOf: kind.uidsOf,
    write: (name, text, uid) => writeStatus(kind.statusDir, kind.statusGroup, name, text, uid),
  });
  const intake =
    kind.spool &&
    new Intake({
      ...kind.spool,
      credentials: kind.credentials,
      log,
      providers: () => config.providers,
      issuer: (provider, client) => issuers.get(provider, client),
      uidsOf: kind.uidsOf,
      welcome: kind.welcome,
      settled: (user, settled) => report.settled(user, settled),
      look: (user) => keeper.look(user),
    });
  const parts: DaemonParts = {
    keeper,
    report,
    intake,
    credentials: kind.credentials,
    clock,
    log,
    sweep: () => config.sweep,
    completed: kind.completed,
    watch: kind.watch,
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
async function masterLog(): Promise<Log | undefined> {
  if (opened) return opened;
  try {
    const { name, logFile } = parseOptions(process.argv.slice(2));
    const file = logFile ?? (await readKnobs(process.env))?.get(`${name}_LOG`);
    return file === undefined ? undefined : fileLog({ file, debug: false, max: 0, keep: 1 });
  } catch {
    return undefined;
  }
}

main().catch(async (thrown) => {
  const failure = failureOf(thrown);
  const what = failure?.what ?? `${(thrown as Error).stack}`;
  stderrLog({ debug: false, program: 'credmond' }).error(what);
  if (failure?.hint) process.stderr.write(`credmond: hint: ${failure.hint}\n`);
  if (underMaster) (await masterLog())?.error(failure?.hint === undefined ? what : `${what} (${failure.hint})`);
  process.exit(codeFor(thrown));
});
