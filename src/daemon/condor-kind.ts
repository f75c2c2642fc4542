import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Account, lookUpAll } from '../broker/accounts.js';
import { readSecret } from '../config/secret.js';
import type { Config } from '../core/config.js';
import { Failed } from '../core/failure.js';
import type { Log } from '../core/ports.js';
import { findProvider } from '../core/provider.js';
import { epochMs } from '../core/time.js';
import { jwtExpiry } from '../providers/jwt.js';
import { condorCredentials } from '../stores/condor.js';
import { systemClock as clock } from '../system/clock.js';
import { watchTree } from '../system/watch.js';
import { BrokerChild, type BrokerInput } from './child.js';
import type { Kind } from './kind.js';
import type { DaemonOptions } from './options.js';
import { claimDirectory } from './ready.js';

/** Leftovers of crashed writes are removed when they are this old: milliseconds. */
const strayAge = 60_000;
/** How long an account is believed to keep its number: milliseconds. */
const accountLife = 60_000;
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
  const credentials = condorCredentials({
    dir,
    services: () => config().providers.keys(),
    owners: [...new Set([0, own, ...(folder ? [folder.uid] : [])])],
    ...(folder && { folderOwner: folder }),
    bare: (service) => findProvider(config().providers, service)?.bare ?? false,
    expiryOf: jwtExpiry,
    tooMany: (user) => {
      if (!crowded.has(user)) log.warn(`${user} has more credentials than are kept (500): the rest are left alone`);
      crowded.add(user);
    },
  });
  const strays = await credentials.sweep(epochMs(clock.now() - strayAge));
  if (strays > 0) log.info(`removed ${strays} leftovers of writes that were cut short`);

  const brokerAccount = accounts
    ? accounts.get(config().broker.account)
    : { name: '', uid: own, gid: process.getgid?.() ?? 0 };
  const debug = (of: Config) => options.debug || of.log.debug;
  let broker = options.once ? undefined : await startBroker(config(), brokerAccount, debug(config()), log);
  return {
    credentials,
    statusDir: config().statusDir,
    ...(folder && { statusGroup: folder.gid }),
    ...(brokerAccount && { spool: { dir: config().broker.spoolDir, uid: brokerAccount.uid } }),
    uidsOf: openAccounts(),
    completed: claim.completed,
    welcome: async (user) => rmSync(join(dir, `${user}.mark`), { force: true }),
    watch: (seen) => {
      const tree = watchTree(dir, seen);
      const spool = watchTree(config().broker.spoolDir, () => seen(undefined));
      let said = 0;
      return {
        add: (user) => {
          tree.add(user);
          if (tree.unwatched.count > said && said === 0) {
            log.warn(
              `not every folder can be watched (${tree.unwatched.why}): changes there are seen within ${config().sweep} s; raise fs.inotify.max_user_watches`,
            );
          }
          said = tree.unwatched.count;
        },
        close: () => {
          tree.close();
          spool.close();
        },
      };
    },
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

/** A broker of our own where a provider has a secret that people must not read; people's logins go through it. */
async function startBroker(
  config: Config,
  account: Account | undefined,
  debug: boolean,
  log: Log,
): Promise<BrokerChild | undefined> {
  if (!config.broker.start || ![...config.providers.values()].some(({ secretFile }) => secretFile !== undefined))
    return undefined;
  if (account === undefined) {
    log.error(
      `no broker: there is no account "${config.broker.account}", so nobody can log in to providers with a secret; ` +
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
    try {
      if (provider.secretFile !== undefined) secrets[provider.name] = await readSecret(provider.secretFile);
      providers.push(provider);
    } catch (thrown) {
      log.error(`${provider.name}: ${(thrown as Error).message}; nobody can log in to it`);
    }
  }
  return { v: 1, providers, secrets, broker: config.broker, debug };
}

/** Names come from folders, of which there may be many without an account: they are not remembered for ever. */
function openAccounts(): Kind['uidsOf'] {
  const known = new Map<string, { readonly uid: number | undefined; readonly until: number }>();
  return async (users) => {
    const now = clock.steady();
    const ask = users.filter((user) => (known.get(user)?.until ?? 0) <= now);
    if (known.size > 200_000) known.clear();
    if (ask.length > 0) {
      const found = await lookUpAll(ask);
      for (const user of ask) known.set(user, { uid: found.get(user)?.uid, until: now + accountLife });
    }
    const uids = new Map<string, number>();
    for (const user of users) {
      const uid = known.get(user)?.uid;
      if (uid !== undefined) uids.set(user, uid);
    }
    return uids;
  };
}
