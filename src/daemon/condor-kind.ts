import { type Account, lookUpAll } from '../broker/accounts.js';
import { readSecret } from '../config/secret.js';
import type { Config } from '../core/config.js';
import { Failed } from '../core/failure.js';
import { explainName, nameTrouble } from '../core/names.js';
import type { Log } from '../core/ports.js';
import { findProvider } from '../core/provider.js';
import { plain } from '../core/text.js';
import { epochMs } from '../core/time.js';
import { jwtExpiry } from '../providers/jwt.js';
import { openDir } from '../stores/atomic.js';
import { condorCredentials } from '../stores/condor.js';
import { systemClock as clock } from '../system/clock.js';
import { watchTree } from '../system/watch.js';
import { BrokerChild, type BrokerInput, makeSpool } from './child.js';
import { Intents } from './intents.js';
import type { Kind } from './kind.js';
import type { DaemonOptions } from './options.js';
import { claimDirectory } from './ready.js';
import { tellOfWatches } from './watches.js';

/** Of names that no credential of ours can have, so many are told. */
const mostPassedOver = 100;

const isRoot = process.getuid?.() === 0;

/** HTCondor's credential directory, with the broker's spool where a provider has a secret. */
export async function condorKind(options: DaemonOptions, config: () => Config, log: Log): Promise<Kind> {
  const dir = options.credDir ?? config().credDir;
  if (dir === undefined) {
    throw new Failed({
      kind: 'config',
      what: 'no credential directory is configured',
      hint: 'set SEC_CREDENTIAL_DIRECTORY_OAUTH (use feature : OAUTH), or name one with --cred-dir',
    });
  }
  const own = process.getuid?.() ?? 0;
  const [claim, accounts] = await Promise.all([
    claimDirectory(dir),
    isRoot ? lookUpAll(['condor', config().broker.account]) : undefined,
  ]);
  const folder = accounts?.get('condor');
  const crowded = new Set<string>();
  const passedOver = new Set<string>();
  const credentials = condorCredentials({
    dir,
    // Without the others' names "dune_production" would be a handle of "dune", and its refresh token dune's issuer's to see.
    services: () => config().names,
    foreign: (name) => !config().providers.has(name),
    owners: [...new Set([0, own, ...(folder ? [folder.uid] : [])])],
    ...(folder && { folderOwner: folder }),
    of: (service) => findProvider(config().providers, service) ?? { flow: 'device', bare: false },
    expiryOf: jwtExpiry,
    tooMany: (user) => {
      if (!crowded.has(user)) log.warn(`${user} has more credentials than are kept (500): the rest are left alone`);
      crowded.add(user);
    },
    strange: (name, where) => {
      const path = plain(where === undefined ? name : `${where}/${name}`, 300);
      if (passedOver.has(path) || passedOver.size === mostPassedOver) return;
      passedOver.add(path);
      log.warn(`${dir}/${path} is passed over: ${explainName(nameTrouble(name) ?? 'characters')}`);
    },
  });
  const intents = new Intents(openDir(dir), { clock, log });
  if (claim.trouble !== undefined) log.error(`${claim.trouble}; tried again at the next look`);
  try {
    // The directory is ours alone by now: whoever wrote these is dead.
    const strays = await credentials.sweep(epochMs(clock.now()));
    if (strays > 0) log.info(`removed ${strays} leftovers of writes that were cut short`);
  } catch (thrown) {
    if (!(thrown instanceof Failed)) throw thrown;
    log.warn(`leftovers of writes that were cut short stay: ${thrown.message}`);
  }

  const brokerAccount = accounts
    ? accounts.get(config().broker.account)
    : { name: '', uid: own, gid: process.getgid?.() ?? 0 };
  if (brokerAccount && !options.once) {
    try {
      makeSpool(config().broker.spoolDir, isRoot ? brokerAccount : undefined);
    } catch (thrown) {
      if (!(thrown instanceof Failed)) throw thrown;
      log.warn(`logins through the broker are seen late, if at all: ${thrown.message}`);
    }
  }
  const debug = (of: Config) => options.debug || of.log.debug;
  let unwatched: string | undefined;
  let broker = options.once ? undefined : await startBroker(config(), brokerAccount, debug(config()), log);
  return {
    credentials,
    intents,
    statusDir: config().statusDir,
    ...(folder && { statusGroup: folder.gid }),
    logins: brokerAccount ? { gid: brokerAccount.gid } : {},
    ...(brokerAccount && { spool: { dir: config().broker.spoolDir, uid: brokerAccount.uid } }),
    uidsOf,
    completed: claim.completed,
    welcome: claim.unmark,
    watch: (seen, lost) => {
      const overflow = () => {
        log.warn(
          'more changed at once than the kernel may remember (fs.inotify.max_queued_events): every folder is looked at',
        );
        lost();
      };
      // Most of what is heard is of our own hand: with each refresh a new .top.
      const matters = (name: string, user: string) => name.endsWith('.top') && !credentials.isOurs(user, name);
      const tree = watchTree(dir, seen, { matters, lost: overflow });
      const spool = watchTree(config().broker.spoolDir, () => seen(undefined));
      const tell = tellOfWatches([tree, spool], { log, sweep: () => config().sweep });
      return {
        get room() {
          return tree.room;
        },
        add: (user, first) => {
          if (nameTrouble(user) !== undefined) return;
          tree.add(user, first);
          unwatched = tell();
        },
        fit: (users) => tree.fit(users),
        again: () => {
          spool.again();
          const again = tree.again();
          unwatched = tell();
          return again;
        },
        close: () => {
          tree.close();
          spool.close();
        },
      };
    },
    unwatched: () => unwatched,
    reconfigured: async (next) => {
      if (broker) broker.reconfigure(await brokerInput(next, debug(next), log));
      else broker = await startBroker(next, brokerAccount, debug(next), log);
    },
    release: async () => {
      await broker?.stop(2000);
      await claim.release();
    },
  };
}

/** A broker of our own where a provider has a secret that people must not read, or people log in by ssh and it. */
async function startBroker(
  config: Config,
  account: Account | undefined,
  debug: boolean,
  log: Log,
): Promise<BrokerChild | undefined> {
  const needed = [...config.providers.values()].some(
    ({ flow, secretFile }) => flow === 'device' && secretFile !== undefined,
  );
  if (!config.broker.start || (!needed && config.pam === undefined)) return undefined;
  if (account === undefined) {
    log.error(
      `no broker: there is no account "${config.broker.account}", so nobody can log in to providers with a secret, nor by ssh; ` +
        `run: useradd --system --no-create-home --shell /usr/sbin/nologin ${config.broker.account}, then restart credmond`,
    );
    return undefined;
  }
  return new BrokerChild({
    account: isRoot ? account : undefined,
    input: await brokerInput(config, debug, log),
    clock,
    log,
  });
}

async function brokerInput(config: Config, debug: boolean, log: Log): Promise<BrokerInput> {
  const secrets: Record<string, string> = {};
  const providers = [];
  for (const provider of config.providers.values()) {
    // Others are nothing that a person could log in to, and their secrets are none of the broker's business.
    if (provider.flow !== 'device') continue;
    try {
      if (provider.secretFile !== undefined) secrets[provider.name] = await readSecret(provider.secretFile);
      providers.push(provider);
    } catch (thrown) {
      log.error(`${provider.name}: ${(thrown as Error).message}; nobody can log in to it`);
    }
  }
  const { broker, pam, statusDir } = config;
  return { v: 1, providers, secrets, broker, ...(pam && { pam }), statusDir, debug };
}

async function uidsOf(users: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const accounts = await lookUpAll(users);
  return new Map([...accounts.values()].map(({ name, uid }) => [name, uid]));
}
