import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { LookupFunction } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { Failed, type Failure } from '../../src/core/failure.js';
import type { Clock, Errand, Http, Issuer } from '../../src/core/ports.js';
import type { Provider } from '../../src/core/provider.js';
import { later, seconds } from '../../src/core/time.js';
import { openGroups } from '../../src/daemon/groups.js';
import { openCalls, openHttp } from '../../src/providers/http.js';
import { jwtClaims } from '../../src/providers/jwt.js';
import { openAny } from '../../src/providers/pelican.js';
import { systemClock } from '../../src/system/clock.js';
import { type Station, provider as usual } from '../daemon/kit.js';
import { type Certificates, makeCertificates } from '../helpers/certificates.js';
import { keeping } from '../helpers/rotation.js';

let made: Certificates | undefined;

/** Of `localhost`; the same for a whole file, since they take a while to make. */
export function certificates(): Certificates {
  made ??= makeCertificates();
  return made;
}

/** A file that is gone after the test. */
export function file(text: string): string {
  const path = join(mkdtempSync(join(tmpdir(), 'credmon-grants-')), 'file');
  writeFileSync(path, text);
  onTestFinished(() => rmSync(join(path, '..'), { recursive: true }));
  return path;
}

/** HTTP to servers of {@link certificates}, or trusting the system's authorities alone. `lookup`: of names. */
export function http(lookup?: LookupFunction, trusts: 'ours' | 'others' = 'ours'): Http {
  const opened = openHttp(trusts === 'ours' ? certificates().ca : undefined, lookup);
  onTestFinished(() => opened.close());
  return openCalls(opened.fetch);
}

/** As the configuration would have it, without a client. */
export const provider = (more: Partial<Provider>): Provider => {
  const { issuer: _, ...rest } = usual('dune', { clientId: '' });
  return { ...rest, ...more };
};

/** The machine sleeps for an hour before an answer arrives: the steady clock stands still meanwhile. */
export function sleepy(awake: Http) {
  let asleep = 0;
  const http: Http = async (...call) => {
    const answer = await awake(...call);
    asleep = 3600;
    return answer;
  };
  return { http, clock: { ...systemClock, now: () => later(systemClock.now(), asleep) } };
}

/** A provider's real issuer. */
export function issuerOf(one: Provider, secret?: string, clock: Clock = systemClock) {
  const issuer = openAny(one, secret, clock);
  onTestFinished(() => issuer.close());
  return issuer;
}

/** For alice, of a credential that nobody else has in hand. */
export function errand(more: Partial<Errand> & Pick<Errand, 'provider'>, issuer?: Issuer) {
  const told = { kept: [] as string[], warnings: [] as string[] };
  const made: Errand = {
    id: { user: 'alice', service: more.provider.name },
    issuer: async () => issuer ?? expect.fail('no issuer here'),
    http: async () => expect.fail('no server here'),
    clock: systemClock,
    minimum: seconds(360),
    rotation: keeping(async (secret) => void told.kept.push(secret)),
    claims: jwtClaims,
    groups: openGroups(),
    warn: (text) => void told.warnings.push(text),
    origin: async () => expect.fail('no origin here'),
    stop: new AbortController().signal,
    ...more,
  };
  return { ...made, ...told };
}

/** What it threw: never anything but a Failed, never with one of these secrets in it. */
export async function failure(promise: Promise<unknown>, ...secrets: readonly string[]): Promise<Failure> {
  const thrown = await promise.then(
    (value) => expect.fail(`no failure but ${JSON.stringify(value)}`),
    (error: unknown) => error,
  );
  if (!(thrown instanceof Failed)) throw thrown;
  const said = `${JSON.stringify(thrown.failure)} ${thrown.message}`;
  for (const secret of secrets) expect(said).not.toContain(secret);
  expect(said).not.toMatch(/eyJ|undefined|\[object/);
  return thrown.failure;
}

/** Puts a `.top` there as condor_credd does. */
export function store(station: Station, name: string, content: unknown, user = 'alice'): void {
  const folder = join(station.dir, user);
  if (!existsSync(folder)) mkdirSync(folder, { mode: 0o700 });
  const text = typeof content === 'string' ? content : JSON.stringify(content);
  writeFileSync(join(folder, `${name}.top.tmp`), text, { mode: 0o600 });
  renameSync(join(folder, `${name}.top.tmp`), join(folder, `${name}.top`));
}

/** A file of a user's, as it stands; undefined where there is none. */
export function found(station: Station, name: string, user = 'alice'): string | undefined {
  const path = join(station.dir, user, name);
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}
