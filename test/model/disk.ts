import { existsSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AnyGrant } from '../../src/core/credential.js';
import type { Life } from '../../src/core/due.js';
import { type CredentialId, keyOf, stem } from '../../src/core/names.js';
import type { Stamp } from '../../src/core/plan.js';
import type { Credentials } from '../../src/core/ports.js';
import type { EpochMs } from '../../src/core/time.js';
import { formatGrant, formatRequest, parseTop } from '../../src/core/top.js';
import { stampOf } from '../../src/stores/atomic.js';
import { condorCredentials } from '../../src/stores/condor.js';
import type { Directory } from './memory.js';

/**
 * HTCondor's credential directory on a real disk, in time that a test moves by hand: the kernel stamps files by its own
 * clock, so when each was written is kept here.
 */
export function diskDirectory(dir: string, now: () => EpochMs, services: readonly string[]) {
  const own = process.geteuid?.() ?? 0;
  let busy = 0;
  const written = new Map<Stamp, EpochMs>();
  const published = new Map<string, EpochMs>();
  const real = condorCredentials({
    dir,
    services: () => services,
    owners: [0, own],
    of: () => ({ flow: 'device', bare: false }),
    expiryOf: () => undefined,
  });
  const work = async <T>(act: Promise<T>): Promise<T> => {
    busy++;
    try {
      return await act;
    } finally {
      busy--;
    }
  };
  const credentials: Credentials = {
    users: () => work(real.users()),
    scan: async (user) => {
      const found = await work(real.scan(user));
      return new Map([...found].map(([key, one]) => [key, { ...one, written: at(one.stamp) }]));
    },
    read: (id) => work(real.read(id)),
    life: async (id): Promise<Life | undefined> => {
      const life = await work(real.life(id));
      return life && { ...life, issued: published.get(keyOf(id)) ?? life.issued };
    },
    rotate: async (id, stamp, refreshToken) => {
      const next = await work(real.rotate(id, stamp, refreshToken));
      written.set(next, now());
      return next;
    },
    publish: async (id, stamp, token) => {
      await work(real.publish(id, stamp, token));
      published.set(keyOf(id), now());
    },
    put: (id, grant) => work(real.put(id, grant)),
    remove: (id, stamp) => work(real.remove(id, stamp)),
  };
  const at = (stamp: Stamp): EpochMs => written.get(stamp) ?? now();
  const folderOf = (user: string) => (existsSync(join(dir, `.${user}`)) ? join(dir, `.${user}`) : join(dir, user));
  const path = (id: CredentialId, ending: string) => join(folderOf(id.user), `${stem(id)}.${ending}`);
  /** As condor_credd does it. */
  const put = (id: CredentialId, text: string) => {
    mkdirSync(folderOf(id.user), { recursive: true, mode: 0o700 });
    writeFileSync(path(id, 'tmp'), text, { mode: 0o600 });
    renameSync(path(id, 'tmp'), path(id, 'top'));
    written.set(stampOf(lstatSync(path(id, 'top'), { bigint: true })), now());
  };
  const textOf = (id: CredentialId, grant: AnyGrant | string): string => {
    if (typeof grant === 'string') return grant;
    if (grant.kind === 'request') return formatRequest(id, grant);
    if ('refreshToken' in grant) return formatGrant(grant);
    throw new RangeError(`no ${grant.kind} here`);
  };
  const directory: Directory = {
    credentials,
    store: (id, grant) => put(id, textOf(id, grant)),
    logout: (id) => {
      for (const ending of ['top', 'use']) rmSync(path(id, ending), { force: true });
    },
    touch: (id) => {
      if (existsSync(path(id, 'top'))) put(id, readFileSync(path(id, 'top'), 'utf8'));
    },
    move: (user, away) => {
      const [from, to] = away ? [user, `.${user}`] : [`.${user}`, user];
      if (existsSync(join(dir, from))) renameSync(join(dir, from), join(dir, to));
    },
    look: (id) => {
      const [top, use] = ['top', 'use'].map((ending) =>
        existsSync(path(id, ending)) ? readFileSync(path(id, ending), 'utf8') : undefined,
      );
      return {
        grant: top === undefined ? undefined : parseTop(top, { id, flow: 'device' }),
        accessToken: use === undefined ? undefined : JSON.parse(use).access_token,
      };
    },
  };
  const settled = async (): Promise<void> => {
    for (let turns = 0; turns < 2; turns++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (busy > 0) turns = -1;
    }
  };
  return { directory, settled };
}
