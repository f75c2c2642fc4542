import { createServer, type Socket } from 'node:net';
import type { Clock, Log } from '../../core/ports.js';
import type { Provider } from '../../core/provider.js';
import { openLookUps } from '../accounts.js';
import type { DeviceGrant } from '../desk.js';
import { type Listening, listen } from '../listen.js';
import { bug } from '../session.js';
import type { Spool } from '../spool.js';
import { attempt } from './attempt.js';
import { Counters } from './counters.js';
import { Decoys } from './decoys.js';
import { Flows } from './flows.js';
import { Pending } from './pending.js';
import { type Approved, abandoned, authenticate, commit, mayEnter, type PamOffers, type PhaseParts } from './phases.js';
import { type PlaceLimits, Places, usualPlaces } from './places.js';
import type { Verdict } from './records.js';
import { Talk } from './talk.js';
import type { PamWords } from './words.js';

export interface DoorOptions {
  readonly listening: Listening;
  /** Where the counters are kept, for `credmon status`. */
  readonly countersFile: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly device: DeviceGrant;
  readonly words: PamWords;
  readonly spool: Spool;
  /** This machine, for people. */
  readonly host: string;
  /** Asked in each phase of each login. */
  readonly offers: () => PamOffers;
  readonly places?: PlaceLimits;
  /** Default: the system's accounts. */
  readonly look?: PhaseParts['look'];
}

export interface Door {
  readonly counters: Counters;
  /** Logins under way, flows that are polled for, and approvals that wait for sshd. */
  readonly now: { readonly places: number; readonly flows: number; readonly pending: number };
  /** Tells all who wait that it is over and takes the socket away, within two seconds. */
  close(): Promise<void>;
}

/** How long the modules have to hear that it is over, and how long all of it may take: milliseconds. */
const farewellMs = 1000;
const closeMs = 1900;

const stopping = {
  kind: 'transient',
  what: 'the login service of this machine is being stopped or restarted',
  hint: 'try again in a moment',
} as const;

/** Opens the door for sshd: only root can reach it, which the socket's mode sees to. Throws as listen() does. */
export async function openDoor(options: DoorOptions): Promise<Door> {
  const { clock, log, device, words, spool, host, offers, look = openLookUps(clock) } = options;
  let closing: Promise<void> | undefined;
  const counters = new Counters(options.countersFile, clock, log);
  const places = new Places(options.places ?? usualPlaces);
  const flows = new Flows(clock);
  const decoys = new WeakMap<Provider, Decoys>();
  const pending = new Pending<Approved>(clock, (approved) => abandoned(approved, parts));
  const decoysOf = (provider: Provider): Decoys => {
    const known = decoys.get(provider) ?? new Decoys(clock, () => probe(provider));
    decoys.set(provider, known);
    return known;
  };
  const parts: PhaseParts = {
    clock,
    log,
    device,
    words,
    spool,
    look,
    host,
    offers,
    flows,
    places,
    pending,
    counters,
    decoysOf,
  };

  /** A code for nobody. */
  const probe = async (provider: Provider): Promise<void> => {
    const stop = new AbortController();
    const work = {
      ...parts,
      provider,
      issuer: offers().issuer(provider),
      decoys: decoysOf(provider),
      begun: clock.steady(),
    };
    for await (const state of attempt(work, stop.signal).states) if (state.at === 'code') stop.abort();
  };

  const serve = async (talk: Talk): Promise<void> => {
    try {
      const record = await talk.opening();
      const verdict = await verdictOn(record, talk);
      // Whom it was for is not there any more, so there will be no session.
      if (!talk.end(verdict) && record.kind === 'auth') pending.clear(record);
    } catch (thrown) {
      if (!talk.stop.aborted) bug(thrown, log);
      talk.hangUp();
    }
  };
  const verdictOn = async (record: Awaited<ReturnType<Talk['opening']>>, talk: Talk): Promise<Verdict> => {
    switch (record.kind) {
      case 'auth':
        try {
          return await authenticate(record, talk, parts);
        } catch (thrown) {
          if (talk.stop.aborted) counters.count(closing ? 'unavailable' : 'gone');
          throw thrown;
        }
      case 'account':
        return mayEnter(record, parts);
      case 'commit':
        return commit(record, parts);
    }
  };

  const open = new Set<Talk>();
  const sessions = new Set<Promise<void>>();
  const server = createServer((socket: Socket) => {
    const talk = new Talk(socket, clock);
    open.add(talk);
    void talk.closed.then(() => open.delete(talk));
    const session = serve(talk);
    sessions.add(session);
    void session.then(() => sessions.delete(session));
  });
  // Only root connects; a last guard.
  server.maxConnections = 1000;
  await listen(server, options.listening, log);
  void counters.write();

  const close = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    const text = words.said(stopping.what, stopping.hint);
    for (const talk of open) talk.end({ kind: 'verdict', result: 'unavailable', text });
    flows.close(stopping);
    // Not the given clock: this must happen.
    const hurry = setTimeout(() => {
      for (const talk of open) talk.hangUp();
    }, farewellMs);
    // A name service may not answer.
    const enough = new Promise((resolve) => setTimeout(resolve, closeMs).unref());
    await Promise.race([Promise.all([closed, ...sessions]), enough]);
    clearTimeout(hurry);
    pending.close();
    await counters.write();
  };
  return {
    counters,
    now: {
      get places() {
        return places.taken;
      },
      get flows() {
        return flows.size;
      },
      get pending() {
        return pending.size;
      },
    },
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}
