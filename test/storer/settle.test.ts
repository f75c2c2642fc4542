import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { ServiceRequest } from '../../src/core/request.js';
import type { ProviderNote, Snapshot } from '../../src/core/snapshot.js';
import { later, seconds } from '../../src/core/time.js';
import { parseTop } from '../../src/core/top.js';
import { deadline } from '../../src/storer/deadline.js';
import { type Result, settle } from '../../src/storer/settle.js';
import { creddStore } from '../../src/stores/credd.js';
import { systemClock as clock } from '../../src/system/clock.js';
import {
  cilogon,
  day,
  dune,
  health,
  hour,
  icecube,
  mine,
  now,
  statusRoom,
  storeTool,
  type Told,
  uid,
  warning,
} from './kit.js';

/** What credmond tells of once something has been stored (at once, like condor_credd's signal to it). */
interface Scene {
  readonly before?: readonly Told[] | undefined;
  readonly told?: readonly Told[];
  readonly stored?: readonly string[];
  readonly patience?: number;
  readonly more?: Partial<Snapshot>;
  /** Whether credmond is at work. Default: it is. */
  readonly idle?: boolean;
}

/** `bin`: where HTCondor's tool is. */
const parts = (dir: string, bin: string) => ({
  statusDir: dir,
  sweep: seconds(60),
  warning,
  uid,
  credd: creddStore({ env: { PATH: `${bin}:/usr/bin:/bin` } }),
  clock,
  stop: new AbortController().signal,
});

async function settled(
  needs: readonly { request: Partial<ServiceRequest>; provider: ProviderNote }[],
  { before = [], told, stored, patience = 0.3, more, idle = false }: Scene = {},
) {
  const room = statusRoom();
  if (before !== undefined) room.tell(before, more);
  if (idle) room.swept(1000);
  const next = join(room.dir, 'next');
  if (told) writeFileSync(next, room.text(told, more));
  const tool = storeTool({
    ...(stored && { stored }),
    ...(told && { onStore: `cp '${next}' '${room.file}.tmp'; mv '${room.file}.tmp' '${room.file}'` }),
  });
  const begun = performance.now();
  const results = await settle(
    needs.map(({ request, provider }) => ({ request: { service: provider.name, ...request }, provider })),
    { ...parts(room.dir, tool.bin), patience: seconds(patience) },
  );
  return { results, tool, room, ms: performance.now() - begun };
}
const one = async (provider: ProviderNote, request: Partial<ServiceRequest>, scene?: Scene) => {
  const { results, ...rest } = await settled([{ request, provider }], scene);
  expect(results).toHaveLength(1);
  return { result: results[0] as Result, ...rest };
};
const dead = { issued: later(now(), -2 * hour), expires: later(now(), -hour) };

describe('what is there', () => {
  test('nobody is asked', async () => {
    const there = health();
    const { result, tool } = await one(cilogon, {}, { before: [there] });
    expect(result).toEqual({ request: { service: 'cilogon' }, provider: cilogon, is: 'there', health: there });
    expect(tool.calls()).toEqual([]);
  });

  test('but credmond is not: that is said, and the job goes in', async () => {
    const { result } = await one(cilogon, {}, { before: [health()], idle: true });
    expect(result).toMatchObject({
      is: 'there',
      warning: 'credmond does not run: the token that is there is not refreshed',
    });
  });

  test('credmond has told nothing for a while, but the one that wrote the file still runs', async () => {
    const { result } = await one(cilogon, {}, { before: [health()], idle: true, more: { pid: process.pid } });
    expect(result).not.toHaveProperty('warning');
  });

  test('it has ended, or will: that is told', async () => {
    const ended = await one(cilogon, {}, { before: [health('cilogon', { life: dead, state: 'retrying' })] });
    expect(ended.result).toMatchObject({ is: 'there', warning: expect.stringContaining('has ended') });
    const ends = later(now(), day);
    const soon = await one(cilogon, {}, { before: [health('cilogon', { ends })] });
    expect(soon.result).toMatchObject({ is: 'there', ending: { at: ends, login: { service: 'cilogon' } } });
  });
});

describe('what takes too long', () => {
  const told = { is: 'refused', failure: { kind: 'transient', what: expect.stringContaining('within 0.2 s') } };

  test('a tool of HTCondor’s that does not answer, or credmond: told as what may pass, and the others all the same', async () => {
    const room = statusRoom();
    room.tell([health('dune'), health('cilogon', { state: 'new', life: null })]);
    const tool = storeTool({ onStore: 'exec sleep 60' });
    const needs = [icecube, cilogon, dune].map((provider) => ({ request: { service: provider.name }, provider }));
    const results = await settle(needs, { ...parts(room.dir, tool.bin), stop: deadline(seconds(0.2)) });
    expect(results).toMatchObject([told, told, { is: 'there' }]);
  });
});

describe('what came and is of no use', () => {
  test.each([
    [icecube, 'submit again: what is needed is asked for anew'],
    [mine, 'make one at the mytoken server, then run: condor_store_cred add-oauth -s mine -i FILE'],
  ])('where no login brings it, none is asked for: $name', async (provider, hint) => {
    const gone = (stamp: string) => health(provider.name, { stamp, state: 'login-needed', life: null });
    const pending = health(provider.name, { state: 'new', life: null });
    const room = statusRoom();
    room.tell([pending]);
    const next = room.text([gone('2')]);
    setTimeout(() => writeFileSync(room.file, next), 50);
    const [result] = await settle([{ request: { service: provider.name }, provider }], {
      ...parts(room.dir, '/nowhere'),
      stop: deadline(),
      patience: seconds(5),
    });
    expect(result).toMatchObject({
      is: 'refused',
      failure: { kind: 'login-needed', what: `there is no token for ${provider.name}: it was not accepted`, hint },
    });
  });
});

describe('what credmond can make without a person', () => {
  test('is asked of it by a request through condor_credd, and waited for no longer than needed', async () => {
    const { result, tool, ms } = await one(
      icecube,
      { handle: 'h', scopes: ['a', 'b'], audience: 'https://x' },
      {
        told: [health('icecube', { handle: 'h', scopes: ['a', 'b'], audience: 'https://x', stamp: '2' })],
        patience: 10,
      },
    );
    expect(result.is).toBe('there');
    expect(ms).toBeLessThan(3000);
    expect(tool.calls()).toEqual(['add-oauth -s icecube -H h -S a,b -A https://x -i -']);
    const stored = tool.stored('icecube_h');
    expect(stored).toEqual({ credmon_request: 1, provider: 'icecube', handle: 'h' });
    // As condor_credd completes it.
    expect(
      parseTop(JSON.stringify({ scopes: 'a,b', audience: 'https://x', ...(stored as object) }), {
        id: { service: 'icecube', handle: 'h' },
        flow: 'exchange',
      }),
    ).toEqual({ kind: 'request', scopes: ['a', 'b'], audience: 'https://x' });
  });

  test('from a login that is there', async () => {
    const login = health('cilogon', { scopes: ['a', 'b'] });
    const made = health('cilogon', { handle: 'h', scopes: ['a'], grant: 'request', origin: '' });
    const { result, tool } = await one(
      cilogon,
      { handle: 'h', scopes: ['a'] },
      { before: [login], told: [login, made] },
    );
    expect(result.is).toBe('there');
    expect(tool.calls()).toEqual(['add-oauth -s cilogon -H h -S a -i -']);
    expect(tool.stored('cilogon_h')).toEqual({ credmon_request: 1, provider: 'cilogon', handle: 'h', from: '' });
  });

  test('and refuses: at once, with its reason', async () => {
    const trouble = {
      kind: 'refused',
      what: 'alice may not have the scope x from icecube',
      hint: 'ask for others',
    } as const;
    const { result, ms } = await one(
      icecube,
      { scopes: ['x'] },
      {
        told: [health('icecube', { state: 'retrying', life: null, scopes: ['x'], trouble, stamp: '2' })],
        patience: 10,
      },
    );
    expect(result).toMatchObject({
      is: 'refused',
      failure: { kind: 'refused', what: `there is no token for icecube: ${trouble.what}`, hint: 'ask for others' },
    });
    expect(ms).toBeLessThan(3000);
  });

  test('what it told before of the former one counts for nothing', async () => {
    const stuck = (stamp: string) =>
      health('icecube', { state: 'retrying', life: null, trouble: { kind: 'refused', what: 'not allowed' }, stamp });
    // Stored anew, but nothing has been told of it: neither refused nor there.
    const silent = await one(icecube, {}, { before: [stuck('1')] });
    expect(silent.tool.calls()).toHaveLength(1);
    expect(silent.result).toMatchObject({ is: 'refused', failure: { kind: 'transient' } });
    const again = await one(icecube, {}, { before: [stuck('1')], told: [stuck('2')], patience: 10 });
    expect(again.result).toMatchObject({ is: 'refused', failure: { kind: 'refused' } });
    const good = await one(
      icecube,
      {},
      { before: [stuck('1')], told: [health('icecube', { stamp: '2' })], patience: 10 },
    );
    expect(good.result.is).toBe('there');
  });

  test('and does not in time: why not, as far as it told', async () => {
    const silent = await one(icecube, {});
    expect(silent.result).toMatchObject({
      is: 'refused',
      failure: {
        kind: 'transient',
        what: 'there is no token for icecube yet after 0.3 s: credmond has not told of one',
        hint: 'submit again later; see: credmon status',
      },
    });
    const trouble = { kind: 'transient', what: 'it is down', hint: 'wait' } as const;
    const late = await one(icecube, {}, { told: [health('icecube', { state: 'retrying', life: null, trouble })] });
    expect(late.result).toMatchObject({
      failure: { what: 'there is no token for icecube yet after 0.3 s: it is down', hint: 'wait' },
    });
  });

  test('while it is being fetched for another submit, it is not asked for again', async () => {
    const fetching = health('icecube', { state: 'new', life: null });
    const { result, tool } = await one(icecube, {}, { before: [fetching] });
    expect(result).toMatchObject({ is: 'refused', failure: { kind: 'transient' } });
    expect(tool.calls()).toEqual([]);
  });

  test('but comes out for something else: that is told at once, not waited for', async () => {
    const robot: ProviderNote = { name: 'robot', flow: 'client', scopes: [] };
    const { result, ms } = await one(
      robot,
      { scopes: ['x'] },
      { told: [health('robot', { grant: 'client' })], patience: 10 },
    );
    expect(result).toMatchObject({
      is: 'refused',
      failure: { kind: 'config', what: expect.stringContaining('the scopes x') },
    });
    expect(ms).toBeLessThan(3000);
  });

  test('without credmond: said at once', async () => {
    const { result, ms } = await one(icecube, {}, { idle: true, patience: 10 });
    expect(result).toMatchObject({
      is: 'refused',
      failure: { kind: 'unsupported', what: 'there is no token for icecube, and credmond does not run' },
    });
    expect(ms).toBeLessThan(3000);
  });

  test('HTCondor’s tool refuses: told in its words', async () => {
    const room = statusRoom();
    room.tell([]);
    const tool = storeTool({ onStore: 'echo "Operation failed."; exit 1' });
    const results = await settle([{ request: { service: 'icecube' }, provider: icecube }], parts(room.dir, tool.bin));
    expect(results).toMatchObject([
      { is: 'refused', failure: { kind: 'storage', what: expect.stringContaining('Operation failed.') } },
    ]);
  });
});

describe('what takes a person', () => {
  test('is told, once it is certain that nothing was stored a moment ago', async () => {
    const { result, tool } = await one(cilogon, {});
    expect(result).toMatchObject({ is: 'login', why: 'you are not logged in to it' });
    expect(tool.calls()).toEqual(['query-oauth -s cilogon']);
  });

  test('was stored a moment ago: it is waited for', async () => {
    const room = statusRoom();
    room.tell([]);
    const tool = storeTool({ stored: ['cilogon'] });
    const stop = new AbortController();
    const done = settle([{ request: { service: 'cilogon' }, provider: cilogon }], {
      ...parts(room.dir, tool.bin),
      stop: stop.signal,
      patience: seconds(10),
    });
    while (tool.calls().length === 0) await clock.sleep(seconds(0.01), stop.signal);
    room.tell([health()]);
    expect(await done).toMatchObject([{ is: 'there' }]);
  });

  test('of one that is dead nothing needs to be asked', async () => {
    const trouble = { kind: 'login-needed', what: 'revoked' } as const;
    const { result, tool } = await one(
      cilogon,
      {},
      { before: [health('cilogon', { state: 'login-needed', trouble })] },
    );
    expect(result).toMatchObject({ is: 'login', why: 'revoked' });
    expect(tool.calls()).toEqual([]);
  });

  test('what was to be made from a login turns out not to be possible: a login is', async () => {
    const login = health('cilogon', { scopes: ['a', 'b'] });
    const trouble = { kind: 'login-needed', what: 'it cannot be made from the login: invalid_target' } as const;
    const made = health('cilogon', { handle: 'h', scopes: ['a'], state: 'login-needed', life: null, trouble });
    const { result } = await one(cilogon, { handle: 'h', scopes: ['a'] }, { before: [login], told: [login, made] });
    expect(result).toMatchObject({ is: 'login', why: trouble.what });
  });

  test('is another program’s', async () => {
    const { result, tool } = await one(dune, {});
    expect(result.is).toBe('elsewhere');
    expect(tool.calls()).toEqual([]);
  });
});

test('several: each has its own answer, in their order, and they are waited for together', async () => {
  const told = [
    health('icecube', { handle: 'a' }),
    health('icecube', { handle: 'b' }),
    health('cilogon', { handle: 'c', scopes: ['x'] }),
  ];
  const { results, tool } = await settled(
    [
      { request: { handle: 'c' }, provider: cilogon },
      { request: { handle: 'b' }, provider: icecube },
      { request: {}, provider: cilogon },
      { request: { handle: 'a' }, provider: icecube },
      { request: {}, provider: dune },
    ],
    { before: [health('cilogon', { handle: 'c', scopes: ['x'] })], told, patience: 10 },
  );
  expect(results.map(({ request: { service, handle }, is }) => [service, handle, is])).toEqual([
    ['cilogon', 'c', 'there'],
    ['icecube', 'b', 'there'],
    ['cilogon', undefined, 'login'],
    ['icecube', 'a', 'there'],
    ['dune', undefined, 'elsewhere'],
  ]);
  expect(tool.calls().sort()).toEqual([
    'add-oauth -s icecube -H a -i -',
    'add-oauth -s icecube -H b -i -',
    'query-oauth -s cilogon',
  ]);
});

test('nobody’s status is read but one’s own', async () => {
  const room = statusRoom();
  room.tell([]);
  const theirs = readFileSync(room.file, 'utf8');
  writeFileSync(join(room.dir, '1.json'), room.text([health()]));
  writeFileSync(join(room.dir, 'all.json'), room.text([health()]));
  const tool = storeTool();
  const results = await settle([{ request: { service: 'cilogon' }, provider: cilogon }], parts(room.dir, tool.bin));
  expect(results).toMatchObject([{ is: 'login' }]);
  expect(readFileSync(room.file, 'utf8')).toBe(theirs);
});

test('who gives up waits no longer', async () => {
  const room = statusRoom();
  room.tell([health('cilogon', { state: 'new', life: null })]);
  const stop = new AbortController();
  const done = settle([{ request: { service: 'cilogon' }, provider: cilogon }], {
    ...parts(room.dir, '/nowhere'),
    stop: stop.signal,
  });
  const reason = new Error('given up');
  stop.abort(reason);
  await expect(done).rejects.toBe(reason);
});
