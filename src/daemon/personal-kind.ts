import { userInfo } from 'node:os';
import { join } from 'node:path';
import { bearerOf, type Config } from '../core/config.js';
import { Failed } from '../core/failure.js';
import type { Kept, Log } from '../core/ports.js';
import { removeBearer, writeBearer } from '../stores/bearer.js';
import { ownCredentials } from '../stores/own.js';
import { openPersonalStore } from '../stores/personal.js';
import { createPrivate, stateDir } from '../stores/state.js';
import { lockFolder } from '../system/lock.js';
import { watchTree } from '../system/watch.js';
import type { Kind } from './kind.js';
import type { DaemonOptions } from './options.js';
import { tellOfWatches } from './watches.js';

/** The credentials of whoever runs this, and the bearer token files that follow them. */
export async function personalKind(options: DaemonOptions, config: () => Config, log: Log): Promise<Kind> {
  if (options.credDir !== undefined) {
    throw new Failed({
      kind: 'usage',
      what: '--user and --cred-dir exclude each other',
      hint: 'leave one of them out',
    });
  }
  const dir = stateDir(process.env);
  createPrivate(dir).close();
  if (!(await lockFolder(dir))) {
    throw new Failed({
      kind: 'unsupported',
      code: 'taken',
      what: `another credmond --user keeps ${dir} already`,
      hint: 'see: credmon status',
    });
  }
  const user = userInfo().username;
  const store = await openPersonalStore({ env: process.env, choice: 'stay' });
  let said = '';
  const bearer = ({ provider, handle }: Kept) => ({
    env: process.env,
    ...bearerOf(config(), { service: provider, ...(handle !== undefined && { handle }) }),
  });
  const credentials = ownCredentials(store, user, {
    give: async (kept) => {
      try {
        if (kept.token) await writeBearer(kept.token.accessToken, bearer(kept));
      } catch (thrown) {
        // The token is stored all the same: `credmon token` prints it.
        if (!(thrown instanceof Failed)) throw thrown;
        if (thrown.message !== said) log.warn(`no bearer token file: ${thrown.message}`);
        said = thrown.message;
      }
    },
    takeBack: async (kept) => void (await removeBearer(bearer(kept)).catch(alreadySaid)),
  });
  let unwatched: string | undefined;
  return {
    credentials,
    statusDir: join(dir, 'status'),
    uidsOf: async () => new Map(),
    completed: async () => {},
    welcome: async () => {},
    watch: (seen) => {
      const watch = watchTree(dir, () => seen(user));
      const tell = tellOfWatches([watch], { log, sweep: () => config().sweep });
      return {
        room: 0,
        add: () => {},
        fit: () => {},
        again: () => {
          watch.again();
          unwatched = tell();
          return [];
        },
        close: () => watch.close(),
      };
    },
    unwatched: () => unwatched,
    reconfigured: async () => {},
    release: async () => {},
  };
}

/** What cannot be removed could not be written either. */
function alreadySaid(thrown: unknown): void {
  if (!(thrown instanceof Failed)) throw thrown;
}
