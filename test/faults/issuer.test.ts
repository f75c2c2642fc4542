import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Health, State } from '../../src/core/health.js';
import { canCertify, makeCertificates } from '../helpers/certificates.js';
import {
  drip,
  error,
  type Fault,
  hang,
  html,
  huge,
  malformed,
  redirect,
  reset,
  set,
  status,
  truncated,
  unprocessed,
  without,
} from '../helpers/faults.js';
import type { Faulty, FaultyOptions } from '../helpers/faulty.js';
import { accessPoint, faultyFor, run } from '../programs/kit.js';
import { isLong } from './kit.js';

/** What an issuer does from one moment on until it is over, and what it comes to. */
interface Case {
  readonly name: string;
  begin(faulty: Faulty, trap: Faulty): unknown;
  end?(faulty: Faulty): unknown;
  /** Already when credmond starts. */
  readonly early?: true;
  readonly issuer?: FaultyOptions;
  readonly tls?: true;
  readonly users?: number;
  readonly state: State;
  readonly kind?: string;
  readonly says?: RegExp;
  readonly does?: RegExp;
  /** The issuer has replaced the refresh token by one that nobody was told: no client in the world survives that. */
  readonly lost?: true;
}

const token =
  (fault: Fault): Case['begin'] =>
  (faulty) =>
    faulty.always('token', fault);

/** One request meets it: the next is answered well, if it can be. */
const once =
  (fault: Fault): Case['begin'] =>
  (faulty) =>
    faulty.next('token', fault);

const retrying = (kind: string, says: RegExp, does: RegExp) => ({ state: 'retrying', kind, says, does }) as const;
const busy = (code: number) =>
  retrying('transient', new RegExp(`has trouble of its own \\(HTTP ${code}\\)`), /^try again later/);
const brokenOff = retrying('transient', /^cannot reach .*: the connection was (?:reset|refused)|broke off/, /network/);
const late = retrying('transient', /^cannot reach .*: it did not answer in time/, /network/);
const odd = retrying('protocol', /answered against the standards/, /whoever runs it must mend this/);
const login = { state: 'login-needed', kind: 'login-needed', does: /^run: credmon login f\d+$/ } as const;
const well = { state: 'fresh' } as const;

/** With a grace period the issuer takes the replaced token once more, and so nothing is lost. */
const lossy = (name: string, fault: Fault, meanwhile: Pick<Case, 'state' | 'kind' | 'says' | 'does'>): Case[] => [
  { name, begin: once(fault), ...login, lost: true },
  { name: `${name}, with a grace period`, begin: token(fault), issuer: { grace: 120_000 }, ...meanwhile },
];

const cases: readonly Case[] = [
  ...[500, 502, 503].map((code): Case => ({ name: `${code}`, begin: token(status(code)), ...busy(code) })),
  { name: '503, Retry-After 2', begin: token(status(503, { 'retry-after': '2' })), ...busy(503) },
  { name: '429, Retry-After 4', begin: token(status(429, { 'retry-after': '4' })), ...busy(429) },
  { name: '403 of a proxy', begin: token(status(403)), ...retrying('refused', /HTTP 403/, /ask whoever runs it/) },
  { name: '404', begin: token(status(404)), ...retrying('refused', /HTTP 404/, /check the issuer’s URL/) },
  { name: 'a reset', begin: token(unprocessed(reset)), ...brokenOff },
  ...lossy('a reset when it had rotated', reset, brokenOff),
  ...lossy('half an answer', truncated, brokenOff),
  ...lossy('JSON that is none', malformed, odd),
  { name: 'HTML', begin: token(html), ...odd },
  {
    name: '100 MB',
    begin: token(huge(100)),
    ...retrying('protocol', /too large to be true/, /check the issuer’s URL/),
  },
  { name: 'a drip', begin: token(drip()), ...well },
  {
    name: 'a redirect',
    begin: (faulty, trap) => faulty.always('token', redirect(`${trap.url}/token`)),
    ...retrying('protocol', /sent us elsewhere \(HTTP 307\), which is not followed/, /give the URL/),
  },
  { name: 'invalid_grant for one', begin: token(error('invalid_grant')), ...login, says: /invalid_grant/ },
  {
    name: 'invalid_client for all',
    begin: token(error('invalid_client')),
    users: 6,
    ...retrying('refused|transient', /invalid_client|waits its turn/, /check f\d+_CLIENT_ID|goes on by itself/),
  },
  { name: 'token type mac', begin: token(set({ token_type: 'mac' })), ...odd },
  { name: 'no token type', begin: token(without('token_type')), ...odd },
  { name: 'no access token', begin: token(without('access_token')), ...odd },
  {
    name: 'no refresh_token, not rotating',
    begin: token(without('refresh_token')),
    issuer: { rotate: false },
    ...well,
  },
  { name: 'no refresh_token, rotating', begin: once(without('refresh_token')), ...login, lost: true },
  { name: 'an empty refresh_token', begin: token(set({ refresh_token: '' })), issuer: { rotate: false }, ...well },
  { name: 'no expires_in', begin: token(without('expires_in')), ...well },
  ...[0, -1, '3600', 1e12, null, 'soon'].map(
    (life): Case => ({
      name: `expires_in ${JSON.stringify(life)}`,
      begin: token(set({ expires_in: life })),
      ...well,
    }),
  ),
  { name: 'access_denied', begin: token(error('access_denied')), ...retrying('denied', /access_denied/, /./) },
  { name: 'server_error', begin: token(error('server_error')), ...retrying('transient', /server_error/, /./) },
  {
    name: 'an error that nobody knows',
    begin: token(error('flux_compensator', 'it has no power')),
    ...retrying('refused', /flux_compensator \(it has no power\)/, /./),
  },
  { name: 'nobody listens', begin: (faulty) => faulty.down(), end: (faulty) => faulty.up(), ...brokenOff },
  {
    name: 'endpoints at another host',
    early: true,
    begin: (faulty, trap) => faulty.always('discovery', set({ token_endpoint: `${trap.url}/token` })),
    ...retrying('protocol', /name an endpoint at another host: http:\/\/127/, /set f\d+_ENDPOINT_HOSTS = 127/),
  },
  { name: 'no metadata', early: true, begin: (f) => f.always('discovery', status(500)), ...busy(500) },
  { name: 'metadata that are a page', early: true, begin: (f) => f.always('discovery', html), ...odd },
  ...(canCertify
    ? [
        {
          name: 'another certificate',
          tls: true as const,
          begin: (faulty: Faulty) => faulty.certify(makeCertificates()),
          ...retrying('protocol', /the certificate of https:\/\/localhost:\d+ cannot be trusted/, /f\d+_CA_FILE/),
        },
      ]
    : []),
  ...(isLong
    ? [
        { name: '400 and no word, thrice', begin: token(status(400)), ...login, says: /HTTP 400/ },
        { name: 'a hang', begin: token(unprocessed(hang)), ...late },
        ...lossy('a slow drip', drip(100), late),
      ]
    : []),
];

/** Until something is so; looked at seldom, since others want the machine too. */
const eventually = (ask: () => unknown, what: () => string, timeout = 60_000) =>
  vi.waitUntil(ask, { timeout, interval: 50 }).catch((cause) => {
    throw new Error(`not within ${timeout} ms: ${what()}`, { cause });
  });

describe('one credmond, and every way in which an issuer can answer badly at once', () => {
  test(`${cases.length} issuers: each is told with what to do, all go on when it is over, and nobody else notices`, async () => {
    const [good, trap] = [await faultyFor({ expiresIn: 14 }), await faultyFor()];
    const certificates = canCertify ? makeCertificates() : undefined;
    const places = await Promise.all(
      cases.map(async (one, n) => {
        const tls = one.tls && certificates;
        const issuer = await faultyFor({ expiresIn: 3, ...one.issuer, ...(tls && { tls }) });
        const users = Array.from({ length: one.users ?? 1 }, (_, m) => `u${n}x${m}`);
        return { ...one, issuer, provider: `f${n}`, users };
      }),
    );
    const p = accessPoint({});
    const caFile = join(p.base, 'ca.pem');
    if (certificates) writeFileSync(caFile, certificates.ca);
    p.write({
      top: { token_minimum: 0 },
      providers: {
        good: { issuer: good.url },
        ...Object.fromEntries(
          places.map(({ provider, issuer, tls }) => [
            provider,
            { issuer: issuer.url, ...(tls && { ca_file: caFile }) },
          ]),
        ),
      },
    });
    for (const place of places) {
      if (place.early) place.begin(place.issuer, trap);
      for (const user of place.users) p.login(place.issuer.grant(), { user, name: place.provider });
      // Everybody has one of the good issuer as well.
      p.login(good.grant(), { user: place.users[0] as string, name: 'good' });
    }
    const healthy = places.map(({ users }) => p.at('good.use', users[0]));

    const daemon = p.credmond();
    await eventually(
      () => healthy.every(existsSync) && places.every((one) => one.early || usesOf(one).every((use) => use !== '')),
      () => `the first tokens\n${daemon.err()}`,
    );

    /** What is left at the worst of what good credentials' jobs have: seconds. */
    let least = Number.POSITIVE_INFINITY;
    const watching = setInterval(() => {
      for (const path of healthy) {
        const { expires_at: at } = JSON.parse(readFileSync(path, 'utf8'));
        least = Math.min(least, at - Date.now() / 1000);
      }
    }, 100);
    onTestFinished(() => clearInterval(watching));

    for (const place of places) if (!place.early) await place.begin(place.issuer, trap);
    const begun = Date.now();
    const before = new Map(places.map((place) => [place, usesOf(place)]));
    const stands = (place: (typeof places)[number]): boolean => {
      const all = healthsOf(place);
      const met = place.state !== 'fresh' || usesOf(place).every((use, n) => use !== before.get(place)?.[n]);
      return met && all.length === place.users.length && all.every(({ state }) => state === place.state);
    };
    const waits = () => places.filter((place) => !stands(place)).map(({ name }) => name);
    await eventually(
      () => waits().length === 0,
      () => `these to stand as they should: ${waits().join('; ')}\n${daemon.err()}`,
    );

    const told = await run('credmon', ['status', '--config', p.config], { env: { HOME: p.base } }).ended;
    for (const place of places) {
      for (const { user, trouble } of healthsOf(place)) {
        const where = `${place.name}: ${user}`;
        expect([where, trouble?.kind ?? '']).toEqual([where, expect.stringMatching(place.kind ?? /^$/)]);
        expect([where, trouble?.what ?? '']).toEqual([where, expect.stringMatching(place.says ?? /^/)]);
        expect([where, trouble?.hint ?? '']).toEqual([where, expect.stringMatching(place.does ?? /^$/)]);
        if (trouble && weSeeAll(told.out)) expect(told.out).toContain(`→ ${trouble.hint}`);
      }
    }
    // Neither were those who could not be reached stormed meanwhile, nor was anything sent elsewhere.
    expect(trap.requests).toEqual([]);
    for (const { name, issuer, users } of places) {
      const asked = issuer.requests.filter(({ endpoint, at }) => endpoint === 'token' && at >= begun);
      const longest = 1 + Math.ceil((Date.now() - begun) / 1500);
      expect([name, asked.length]).toEqual([name, expect.toSatisfy((n: number) => n <= longest * users.length)]);
    }
    const throttled = places.find(({ name }) => name.startsWith('429'))?.issuer.requests.filter(({ fault }) => fault);
    for (const [n, { at }] of (throttled ?? []).entries())
      if (n > 0) expect(at - (throttled?.[n - 1]?.at ?? 0)).toBeGreaterThanOrEqual(4000);

    // It is over. Where the issuer has forgotten the grant, the person logs in again, as they were told.
    const lost = () =>
      places.flatMap((place) => (topsOf(place).every(place.issuer.accepts) ? [] : [place.name])).join('; ');
    const expected = places.flatMap((place) => (place.lost ? [place.name] : [])).join('; ');
    // What is on its way just now is not lost yet.
    await eventually(
      () => lost() === expected,
      () => `these to be lost: ${expected}; and not: ${lost()}`,
    );
    for (const place of places) {
      for (const endpoint of ['token', 'discovery'] as const) place.issuer.always(endpoint, undefined);
      if (place.tls && certificates) place.issuer.certify(certificates);
      await place.end?.(place.issuer);
    }
    const after = new Map(places.map((place) => [place, usesOf(place)]));
    for (const place of places.filter(({ state }) => state === 'login-needed'))
      for (const user of place.users) p.login(place.issuer.grant(), { user, name: place.provider });
    const isBack = (place: (typeof places)[number]): boolean =>
      healthsOf(place).every(({ state }) => state === 'fresh') &&
      topsOf(place).every(place.issuer.accepts) &&
      // Tokens that are good for long are not replaced soon.
      (place.state === 'fresh' || usesOf(place).every((use, n) => use !== '' && use !== after.get(place)?.[n]));
    const missing = () => places.filter((place) => !isBack(place)).map(({ name }) => name);
    await eventually(
      () => missing().length === 0,
      () => `these to be fresh again: ${missing().join('; ')}\n${daemon.err()}`,
    );

    await eventually(
      () => good.counts.refreshes >= 2 * places.length,
      () => 'the good ones to be refreshed',
    );
    clearInterval(watching);
    expect(least).toBeGreaterThan(0);
    expect(good.counts.reuse).toBe(0);
    // A rotated token was presented again only where the answer that brought the next one never arrived.
    for (const { name, issuer, lost: gone } of places)
      expect([name, issuer.counts.reuse]).toEqual([name, gone && !issuer.grace ? 1 : 0]);
    // 100 MB were not read.
    const peak = Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))?.[1]) / 1024;
    expect(peak).toBeLessThan(200);
    const secret = /(?:refresh|access)-[\w-]{22}/;
    expect(daemon.err() + daemon.out() + told.out + JSON.stringify(p.status())).not.toMatch(secret);
    daemon.child.kill('SIGTERM');
    expect((await daemon.ended).code).toBe(0);

    function healthsOf({ provider }: { provider: string }): Health[] {
      if (!existsSync(join(p.statusDir, 'all.json'))) return [];
      return (p.status().credentials as Health[]).filter((one) => one.service === provider);
    }
    function usesOf({ provider, users }: { provider: string; users: readonly string[] }): string[] {
      return users.map((user) => (existsSync(p.at(`${provider}.use`, user)) ? p.use(provider, user).access_token : ''));
    }
    function topsOf({ provider, users }: { provider: string; users: readonly string[] }): string[] {
      return users.map((user) => p.top(provider, user));
    }
  }, 180_000);
});

/** Only root and HTCondor's group see everybody's; others see their own, and have none here. */
const weSeeAll = (out: string): boolean => out.includes('USER');
