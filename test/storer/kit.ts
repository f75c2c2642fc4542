import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Health } from '../../src/core/health.js';
import type { ProviderNote, Snapshot } from '../../src/core/snapshot.js';
import { type EpochMs, epochMs, later, seconds } from '../../src/core/time.js';

export const hour = 3600;
export const day = 24 * hour;
export const warning = seconds(3 * day);
export const uid = 4242;

export const cilogon: ProviderNote = {
  name: 'cilogon',
  flow: 'device',
  scopes: ['offline_access', 'openid', 'storage.read:/'],
};
export const icecube: ProviderNote = { name: 'icecube', flow: 'exchange', scopes: ['storage.read:/home'] };
export const robot: ProviderNote = { name: 'robot', flow: 'client', scopes: [] };
export const dune: ProviderNote = { name: 'dune', flow: 'vault', scopes: [] };
export const osdf: ProviderNote = { name: 'osdf', flow: 'pelican', scopes: [] };
export const mine: ProviderNote = { name: 'mine', flow: 'mytoken', scopes: [] };
const everyProvider = [cilogon, icecube, robot, dune, osdf, mine];

export const now = (): EpochMs => epochMs(Date.now());

export type Told = Health & { readonly stamp: string };

/** Alice's credential as credmond tells of it: fresh, of a login. `life` null: without a token. */
export function health(
  service = 'cilogon',
  { life, ...more }: Partial<Omit<Told, 'life'>> & { life?: Health['life'] | null } = {},
): Told {
  const at = now();
  return {
    user: 'alice',
    provider: service,
    service,
    issuer: `https://${service}.example`,
    state: 'fresh',
    since: at,
    refreshes: 1,
    grant: 'refresh',
    stamp: '1.1.1',
    ...(life !== null && { life: life ?? { issued: at, expires: later(at, hour) } }),
    ...more,
  };
}

/** The status folder as credmond has it. */
export function statusRoom() {
  const dir = mkdtempSync(join(tmpdir(), 'credmon-storer-'));
  chmodSync(dir, 0o755);
  onTestFinished(() => {
    chmodSync(dir, 0o755);
    rmSync(dir, { recursive: true, force: true });
  });
  const room = {
    dir,
    file: join(dir, `${uid}.json`),
    text: (credentials: readonly Told[], more: Partial<Snapshot> = {}): string =>
      JSON.stringify({ v: 1, at: now(), pid: 999_999_999, providers: everyProvider, warning, credentials, ...more }),
    /** credmond tells of alice's credentials, and is at work. */
    tell(credentials: readonly Told[], more: Partial<Snapshot> = {}): void {
      writeFileSync(room.file, room.text(credentials, more));
      room.swept();
    },
    /** It has looked at everything, so many seconds ago. */
    swept(ago = 0): void {
      writeFileSync(join(dir, 'all.json'), room.text([]));
      const at = Date.now() / 1000 - ago;
      utimesSync(join(dir, 'all.json'), at, at);
    },
  };
  return room;
}

/**
 * A condor_store_cred that notes each call, and answers as HTCondor 23.9.6 does. `stored`: what is there already, by
 * stems; `onStore`: what it does (in sh) when something is stored.
 */
export function storeTool({ stored = [] as readonly string[], onStore = ':' } = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'credmon-tool-'));
  chmodSync(dir, 0o755);
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const [bin, there, calls] = ['bin', 'there', 'calls'].map((name) => join(dir, name)) as [string, string, string];
  for (const path of [bin, there]) mkdirSync(path);
  for (const stem of stored) writeFileSync(join(there, stem), '');
  const path = join(bin, 'condor_store_cred');
  writeFileSync(
    path,
    `#!/bin/sh
printf '%s\\n' "$*" >> '${calls}'
action=$1; shift
while [ $# -gt 0 ]; do
  case $1 in -s) name=$2; shift;; -H) name=\${name}_$2; shift;; esac
  shift
done
case $action in
query-oauth)
  [ -e '${there}'/"$name" ] || { echo "No credential is stored."; exit 1; }
  echo "A credential was stored and is waiting for processing.";;
add-oauth)
  cat > '${there}'/"$name"
  ${onStore}
  echo "Operation succeeded and is waiting for processing.";;
esac
`,
  );
  chmodSync(path, 0o755);
  return {
    bin,
    calls: () => (existsSync(calls) ? readFileSync(calls, 'utf8').trimEnd().split('\n') : []),
    stored: (stem: string) => JSON.parse(readFileSync(join(there, stem), 'utf8')) as unknown,
  };
}
