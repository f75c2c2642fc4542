import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import type { LoginTools } from '../../../src/commands/login/context.js';
import { stepsFor } from '../../../src/commands/login/steps.js';
import type { Config } from '../../../src/core/config.js';
import type { Health } from '../../../src/core/health.js';
import { hasEnded, type LoginState } from '../../../src/core/login.js';
import type { Clock } from '../../../src/core/ports.js';
import type { Provider } from '../../../src/core/provider.js';
import type { Wish } from '../../../src/core/several.js';
import { epochMs, seconds } from '../../../src/core/time.js';
import { type Issuer, publicClient, startIssuer } from '../../helpers/issuer.js';

const scopes = ['openid', 'offline_access', 'storage.read:/alice'];
const write = ['storage.create:/alice'];

/** condor_store_cred: notes down each call, and knows of nothing stored. */
const tool = `#!/bin/sh
cd "$SEEN"
n=$(ls | wc -l)
case "$1" in query-oauth) echo "No credential is stored."; exit 1;; esac
{ echo "$*"; cat; } > call.$n
echo "Operation succeeded and is waiting for processing."
`;

let issuer: Issuer;
let now: number;
let health: Map<string, Health>;
/** What credmond does about each that was stored: its state. */
let outcome: (name: string) => Partial<Health>;
let room: ReturnType<typeof openRoom>;

function openRoom() {
  const dir = mkdtempSync(join(tmpdir(), 'credmon-login-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  for (const name of ['bin', 'seen', 'status', 'credentials']) mkdirSync(join(dir, name));
  writeFileSync(join(dir, 'bin', 'condor_store_cred'), tool);
  chmodSync(join(dir, 'bin', 'condor_store_cred'), 0o755);
  const calls = () =>
    readdirSync(join(dir, 'seen'))
      .sort()
      .map((name) => {
        const [words = '', text = ''] = readFileSync(join(dir, 'seen', name), 'utf8').split('\n');
        return { words, text: JSON.parse(text) as Record<string, unknown> };
      });
  return { dir, calls };
}

const named = (name: string, more: Partial<Health>): Health => ({
  user: 'alice',
  provider: 'test',
  service: 'test',
  issuer: issuer.url,
  state: 'new',
  since: epochMs(now),
  refreshes: 0,
  ...(name !== 'test' && { handle: name.slice('test_'.length) }),
  ...more,
});

/** credmond looks at what has been stored, and tells. */
function credmond(): void {
  for (const { words } of room.calls()) {
    const [, service = '', handle] = /-s (\S+)(?: -H (\S+))?/.exec(words) ?? [];
    const name = handle === undefined ? service : `${service}_${handle}`;
    health.set(name, named(name, outcome(name)));
  }
  const snapshot = { v: 1, at: now, pid: process.pid, credentials: [...health.values()] };
  writeFileSync(join(room.dir, 'status', `${process.getuid?.()}.json`), JSON.stringify(snapshot));
}

/** Whenever anybody waits, time goes by and credmond is at work. */
const clock: Clock = {
  now: () => epochMs(now),
  steady: () => now,
  after: () => () => {},
  async sleep(span) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    now += span * 1000;
    credmond();
  },
};

const fresh = () => ({ state: 'fresh', life: { issued: epochMs(now), expires: epochMs(now + 3_600_000) } }) as const;

beforeEach(async () => {
  now = Date.now();
  health = new Map();
  outcome = fresh;
  room = openRoom();
  issuer = await startIssuer({
    slowDown: false,
    onCode: (code) => void issuer.approve(code, { login: 'alice' }),
    refreshTokenTtl: 86_400,
    behaviour: { refreshExpiry: 'refresh_expires_in' },
  });
  onTestFinished(() => issuer.stop());
});

async function steps(wishes: readonly Wish[], { force = false, htcondor = true } = {}) {
  const provider: Provider = {
    name: 'test',
    issuer: issuer.url,
    clientId: publicClient.client_id,
    scopes,
    flow: 'device',
    bare: false,
  };
  const config = {
    source: 'a test',
    providers: new Map([['test', provider]]),
    credDir: join(room.dir, 'credentials'),
    statusDir: join(room.dir, 'status'),
    htcondor,
    minimum: seconds(60),
    broker: { socket: join(room.dir, 'no-socket') },
  } as unknown as Config;
  const tools: LoginTools = {
    config,
    env: { PATH: `${join(room.dir, 'bin')}:/usr/bin:/bin`, SEEN: join(room.dir, 'seen') },
    clock,
    stop: new AbortController().signal,
    again: async () => false,
  };
  const all = await stepsFor({ provider, wishes }, tools, { store: 'auto', force });
  const states: LoginState[] = [];
  for (const { kept, login } of all) {
    if (kept) states.push(kept);
    else for await (const state of login()) states.push(state);
  }
  return { states, ends: states.filter(hasEnded), left: all.flatMap(({ left = [] }) => left) };
}

describe('several at once, through condor_credd', () => {
  test('what one login cannot bring as well is not passed over without a word', async () => {
    const made = Array.from({ length: 17 }, (_, i) => `test_h${i}`);
    for (const name of made) health.set(name, named(name, { ...fresh(), grant: 'request', origin: '', audience: 'x' }));
    health.set('test', named('test', { ...fresh(), grant: 'refresh' }));
    credmond();
    const { left, ends } = await steps([{}], { force: true });
    expect(left).toEqual([
      expect.stringMatching(/^test_h16: .* credmon login test --handle h16 --audience x --force$/),
    ]);
    expect(ends[0]?.ask.also).toHaveLength(16);
  });

  test('one approval; the grant is stored first, then what is to be made from it', async () => {
    const begun = now;
    const { states, ends } = await steps([{ handle: 'w', scopes: write }, {}]);
    expect(states.map(({ at }) => at)).toEqual(['starting', 'code', 'storing', 'waiting', 'done']);
    expect(ends).toMatchObject([{ ask: { scopes: [...scopes, ...write], also: [{ handle: 'w' }] }, missing: [] }]);
    expect(ends[0]).not.toHaveProperty('note');
    expect(issuer.counts).toMatchObject({ deviceAuthorizations: 1, logins: 1, refreshes: 0 });
    const [owner, made, ...rest] = room.calls();
    expect(rest).toEqual([]);
    expect(owner?.words).toBe(`add-oauth -s test -S ${scopes.join(',')} -i -`);
    expect(owner?.text).toEqual({
      refresh_token: expect.any(String),
      granted_at: expect.any(Number),
      refresh_token_expires_at: expect.any(Number),
    });
    expect(Number(owner?.text.granted_at)).toBeGreaterThanOrEqual(Math.floor(begun / 1000));
    expect(made?.words).toBe(`add-oauth -s test -H w -S ${write.join(',')} -i -`);
    expect(made?.text).toEqual({ credmon_request: 1, provider: 'test', handle: 'w', from: '' });
  });

  test('done is when all have their first token; who will have none is named, with why', async () => {
    const trouble = {
      kind: 'login-needed',
      what: 'the issuer gives no narrower token',
      hint: 'run: credmon login',
    } as const;
    outcome = (name) => (name === 'test_w' ? { state: 'login-needed', trouble } : fresh());
    const { ends } = await steps([{}, { handle: 'w', scopes: write }, { handle: 'x' }]);
    expect(ends).toMatchObject([
      {
        at: 'failed',
        failure: {
          kind: 'login-needed',
          what: 'stored, but there is no token for test_w: the issuer gives no narrower token',
          hint: 'run: credmon login',
        },
      },
    ]);
  });

  test('who has none within the patience is named, and nothing failed', async () => {
    outcome = (name) => {
      if (name === 'test') return fresh();
      const trouble = { kind: 'transient', what: 'cannot reach it' } as const;
      return name === 'test_w' ? { state: 'retrying', trouble } : { state: 'new' };
    };
    const { ends } = await steps([{}, { handle: 'w', scopes: write }, { handle: 'x' }]);
    expect(ends).toMatchObject([
      { at: 'done', note: expect.stringContaining('a first token of test_w, test_x yet (test_w: cannot reach it).') },
    ]);
  });

  test('one alone is as it ever was: its `.top` names no scopes', async () => {
    await steps([{}]);
    expect(room.calls()).toMatchObject([{ words: 'add-oauth -s test -i -' }]);
  });
});

describe('where a login is there', () => {
  const there = (name: string, more: Partial<Health> = {}) =>
    health.set(name, named(name, { ...fresh(), grant: 'refresh', ...more }));
  const read: Wish = { handle: 'r', scopes: ['storage.read:/alice'] };

  test('what can be made from it is, without approval or broker', async () => {
    there('test');
    credmond();
    const { states } = await steps([{}, read]);
    expect(states.map(({ at }) => at)).toEqual(['kept', 'waiting', 'done']);
    expect(states[2]).toMatchObject({
      ask: { handle: 'r', from: '', scopes: read.scopes },
      expires: expect.any(Number),
    });
    expect(room.calls()).toEqual([
      {
        words: 'add-oauth -s test -H r -S storage.read:/alice -i -',
        text: { credmon_request: 1, provider: 'test', handle: 'r', from: '' },
      },
    ]);
    expect(issuer.counts.deviceAuthorizations).toBe(0);
  });

  test('what it has not the scopes for takes an approval; the rest stays', async () => {
    there('test');
    credmond();
    const { states } = await steps([{}, { handle: 'w', scopes: write }]);
    expect(states.map(({ at }) => at)).toEqual(['kept', 'starting', 'code', 'storing', 'waiting', 'done']);
    expect(room.calls()).toMatchObject([{ words: `add-oauth -s test -H w -S ${write} -i -` }]);
    expect(room.calls()[0]?.text).toHaveProperty('refresh_token');
  });

  test('without HTCondor’s tools it is a login as well', async () => {
    there('test');
    credmond();
    const outcomes = steps([{}, read], { htcondor: false });
    // Nor is there anybody then who would take a login.
    await expect(outcomes).rejects.toThrow('nobody takes logins');
    expect(room.calls()).toEqual([]);
  });

  test('--force has all of it approved anew, with what else was made from it', async () => {
    there('test');
    there('test_x', { grant: 'request', origin: '', scopes: write });
    credmond();
    const { ends } = await steps([{}], { force: true });
    expect(ends).toMatchObject([{ at: 'done', ask: { scopes: [...scopes, ...write], also: [{ handle: 'x' }] } }]);
    expect(room.calls()).toMatchObject([
      { words: `add-oauth -s test -S ${scopes.join(',')} -i -` },
      { words: `add-oauth -s test -H x -S ${write} -i -`, text: { from: '' } },
    ]);
  });

  test('all good: nothing is asked of anybody', async () => {
    there('test');
    there('test_r', { grant: 'request', origin: '', scopes: read.scopes ?? [] });
    credmond();
    const { states } = await steps([{}, read]);
    expect(states).toMatchObject([{ at: 'kept' }, { at: 'kept', ask: { handle: 'r' } }]);
    expect(existsSync(join(room.dir, 'seen', 'call.0'))).toBe(false);
  });
});
