import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadConfig, requireProviders } from '../config/load.js';
import { openMapFiles } from '../config/mapfile.js';
import { readSecret } from '../config/secret.js';
import type { BrokerSettings, PamSettings } from '../core/config.js';
import { exitCode, Failed, failureOf } from '../core/failure.js';
import type { Issuer, Log } from '../core/ports.js';
import type { Provider } from '../core/provider.js';
import { redact } from '../core/redact.js';
import { sshLoginsFile } from '../core/ssh-logins.js';
import { plain } from '../core/text.js';
import * as device from '../grants/device.js';
import { openIssuer } from '../providers/issuer.js';
import { systemClock } from '../system/clock.js';
import { stderrLog } from '../system/log.js';
import { shutIn } from '../system/shut.js';
import { version } from '../system/version.js';
import { activatedSockets } from './activated.js';
import { type ChildInput, longestInput, parseInput, unusable } from './child-input.js';
import { longestLoginMs, type Offers } from './desk.js';
import { LineSplitter } from './lines.js';
import type { Listening } from './listen.js';
import { type Door, openDoor } from './pam/door.js';
import type { PamOffers } from './pam/phases.js';
import { becomesWell, isWell } from './pam/well.js';
import { type Broker, startBroker } from './server.js';

const program = 'credmon-broker';

const help = `usage: ${program} [--config FILE] [--socket PATH] [--child]

Holds the OAuth client secrets of an HTCondor access point and runs the logins of its users. It listens on a Unix
socket, needs no privileges and refuses to run as root. Where ssh logins are switched on, a second socket is for sshd.
Sockets that systemd has made for it are taken by their names, broker and pam.

  --config FILE   read this configuration instead of HTCondor's or /etc/credmon/credmon.toml
  --socket PATH   listen here instead of where the configuration says
  --child         started by credmond: one JSON line a configuration on standard input, whose end stops the broker
  --version       print the version
  --help          print this

Signals: SIGTERM and SIGINT stop it; SIGHUP has the configuration read again for new logins.
`;

interface Loaded {
  readonly offers: Offers & { close(): void };
  readonly broker: BrokerSettings;
  readonly pam?: PamSettings;
  readonly statusDir: string;
  readonly debug: boolean;
}

async function main(): Promise<number> {
  const { values } = arguments_();
  if (values.help) return print(help);
  if (values.version) return print(`${program} ${version()}\n`);
  process.umask(0o022);
  shutIn();

  let log = stderrLog({ debug: false, program });
  const file = values.config === undefined ? {} : { file: values.config };
  const load = async (): Promise<Loaded> => {
    const config = requireProviders(await loadConfig({ ...file, env: process.env }), process.env);
    const { broker, pam, statusDir } = config;
    return {
      offers: await offersOf(config.providers),
      broker,
      ...(pam && { pam }),
      statusDir,
      debug: config.log.debug,
    };
  };
  const lines = values.child ? childLines() : undefined;
  let loaded = lines ? ofChild(await first(lines)) : await load();
  refuseRoot(loaded.broker.account);
  log = stderrLog({ debug: loaded.debug, program });
  // A broker that runs for months must hear of a new log level too.
  const current: Log = {
    error: (text) => log.error(text),
    warn: (text) => log.warn(text),
    info: (text) => log.info(text),
    debug: (text) => log.debug(text),
  };
  const replace = (next: Loaded): void => {
    const old = loaded;
    loaded = next;
    log = stderrLog({ debug: next.debug, program });
    log.info(`new configuration: ${[...next.offers.providers.keys()].join(', ')}`);
    const same = (['challengeDir', 'spoolDir', 'socket'] as const).every((key) => next.broker[key] === old.broker[key]);
    if (!same || next.pam?.socket !== old.pam?.socket)
      log.warn('other folders or another socket are used only after a restart');
    // Flows under way keep what they began with.
    systemClock.after(longestLoginMs, () => old.offers.close());
  };

  const settings = { ...loaded.broker, ...(values.socket !== undefined && { socket: values.socket }) };
  const activated = activatedSockets(process.env, process.pid);
  const listening = activated.get('broker');
  const broker = await startBroker({
    settings,
    clock: systemClock,
    log: current,
    random: Math.random,
    device,
    offers: () => loaded.offers,
    ...(listening && { listening }),
  });
  const pam = activated.get('pam');
  const listenForPam: Listening | undefined =
    pam ?? (loaded.pam && { path: loaded.pam.socket, mode: 0o600, folderMode: 0o711 });
  const door =
    listenForPam &&
    (await openPamDoor(listenForPam, broker, settings.socket, () => loaded, current).catch((thrown) => {
      // A broker of systemd's may have that door; people's logins by the terminal are not to suffer.
      if (!values.child || !(thrown instanceof Failed)) throw thrown;
      current.error(`no door for sshd: ${inWords(thrown)}`);
      return undefined;
    }));
  const stopped = new Promise<string>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal));
    if (lines) {
      // Meant for credmond, which tells us on standard input.
      process.on('SIGHUP', () => undefined);
      follow(lines, (input) => replace(ofChild(input)), current).then(
        () => resolve('standard input has ended'),
        resolve,
      );
    } else {
      process.on('SIGHUP', () => {
        load().then(replace, (thrown) => current.error(`the old configuration stays: ${inWords(thrown)}`));
      });
    }
  });
  log.info(`${await stopped}: stopping`);
  await Promise.all([broker.close(), door?.close()]);
  return 0;
}

/** The door for sshd. What it draws with is loaded only where there is one. */
async function openPamDoor(
  listening: Listening,
  { spool }: Broker,
  socket: string,
  loaded: () => Loaded,
  log: Log,
): Promise<Door> {
  const { pamFace } = await import('../login/faces/pam.js');
  const tables = openMapFiles();
  return openDoor({
    listening,
    countersFile: join(dirname(socket), sshLoginsFile),
    clock: systemClock,
    log,
    device,
    words: pamFace,
    spool,
    host: hostname(),
    offers: () => {
      const { offers, pam, statusDir } = loaded();
      const well: PamOffers['isWell'] = (provider, user, uid) =>
        isWell({ dir: statusDir, provider, now: systemClock.now() }, user, uid);
      return {
        ...offers,
        pam,
        tables,
        isWell: well,
        becomesWell: (...whose) => becomesWell(() => well(...whose), systemClock),
      };
    },
  });
}

/**
 * A broker talks to everybody, so it is nobody. Only where its account is set to be root, by whoever is root and has no other
 * account to hand (a demonstration, a container), may it be; then root may log in, too.
 */
function refuseRoot(account: string): void {
  if ((process.getuid?.() !== 0 && process.geteuid?.() !== 0) || account === 'root') return;
  throw new Failed({
    kind: 'config',
    what: `${program} does not run as root: it talks to everybody`,
    hint: 'start it as the account credmon (systemd: User=credmon), or let credmond start it',
  });
}

function arguments_() {
  try {
    return parseArgs({
      options: {
        config: { type: 'string' },
        socket: { type: 'string' },
        child: { type: 'boolean' },
        version: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (thrown) {
    const what = plain(thrown instanceof Error ? thrown.message : 'wrong arguments');
    throw new Failed({ kind: 'usage', what, hint: `see: ${program} --help` }, { cause: thrown });
  }
}

/** Secrets are read now, so that a wrong file is found at the start and not at somebody's login. */
async function offersOf(providers: ReadonlyMap<string, Provider>): Promise<Loaded['offers']> {
  const secrets = new Map<string, string>();
  for (const { name, secretFile } of providers.values()) {
    if (secretFile !== undefined) secrets.set(name, await readSecret(secretFile));
  }
  return openOffers(providers, secrets);
}

function openOffers(providers: ReadonlyMap<string, Provider>, secrets: ReadonlyMap<string, string>): Loaded['offers'] {
  const opened = new Map<string, ReturnType<typeof openIssuer>>();
  return {
    providers,
    issuer(provider): Issuer {
      const { name, secretFile } = provider;
      const secret = secrets.get(name);
      if (secretFile !== undefined && secret === undefined) {
        throw new Failed({
          kind: 'config',
          what: `the broker has not got the client secret of ${name}`,
          hint: 'tell whoever runs this machine to look into credmond’s log',
        });
      }
      const known = opened.get(name) ?? openIssuer(provider, secret, systemClock);
      opened.set(name, known);
      return known;
    },
    close() {
      for (const issuer of opened.values()) issuer.close().catch(() => undefined);
      opened.clear();
    },
  };
}

const ofChild = ({ providers, secrets, ...rest }: ChildInput): Loaded => ({
  offers: openOffers(providers, secrets),
  ...rest,
});

async function* childLines(): AsyncGenerator<Uint8Array, void, undefined> {
  const splitter = new LineSplitter(longestInput);
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    for (const { line } of splitter.push(chunk)) {
      if (line === undefined) throw unusable(`it has more than ${longestInput} bytes`);
      yield line;
    }
  }
}

async function first(lines: AsyncGenerator<Uint8Array, void, undefined>): Promise<ChildInput> {
  const limit = setTimeout(() => process.stdin.destroy(unusable('nothing came within 10 s')), 10_000);
  try {
    const { value } = await lines.next();
    if (value === undefined) throw unusable('it ended before the first line did');
    return parseInput(value);
  } finally {
    clearTimeout(limit);
  }
}

/** Until standard input ends. A configuration that is of no use leaves the old one in its place. */
async function follow(
  lines: AsyncGenerator<Uint8Array, void, undefined>,
  use: (input: ChildInput) => void,
  log: Log,
): Promise<void> {
  for await (const line of lines) {
    try {
      use(parseInput(line));
    } catch (thrown) {
      log.error(`the old configuration stays: ${inWords(thrown)}`);
    }
  }
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

const inWords = (thrown: unknown): string => {
  const failure = failureOf(thrown);
  if (failure) return redact(failure.hint === undefined ? failure.what : `${failure.what} (${failure.hint})`);
  return redact(thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown));
};

function die(thrown: unknown): never {
  const failure = failureOf(thrown);
  const text = failure ? redact(failure.what) : `a bug: ${inWords(thrown)}`;
  process.stderr.write(`${program}: error: ${text}\n`);
  if (failure?.hint !== undefined) process.stderr.write(`${program}: hint: ${redact(failure.hint)}\n`);
  process.exit(failure ? exitCode(failure) : 70);
}

// Node's own report would be of the error as it is, unredacted.
process.on('uncaughtException', die);
main().then((code) => process.exit(code), die);
