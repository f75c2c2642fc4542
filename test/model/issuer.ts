import { assumedLife, type TokenSet } from '../../src/core/credential.js';
import { Failed, type Failure } from '../../src/core/failure.js';
import type { Clock, Issuer, TokenRequest } from '../../src/core/ports.js';
import { madeAt, momentOf } from '../../src/core/steady.js';
import { type EpochMs, later, type Seconds, seconds } from '../../src/core/time.js';

/**
 * How it behaves. Those from `lost` on do the work all the same: what is rotated is rotated.
 *   error, busy, reset, client, page   500; 429 with Retry-After; a reset; invalid_client; a portal's page
 *   hang, lost, hang-lost               no answer within the client's limit; a reset instead of an answer
 *   faulty                              an answer that has a new refresh token and is no good
 *   dead                                invalid_grant, whatever is asked
 */
export const modes = [
  'well',
  'slow',
  'error',
  'busy',
  'reset',
  'client',
  'page',
  'dead',
  'hang',
  'lost',
  'hang-lost',
  'faulty',
  'no-life',
  'no-refresh-token',
] as const;
export type Mode = (typeof modes)[number];

/** Its answers are good, and not later than {@link slowest}. */
export const isWell = (mode: Mode): boolean => ['well', 'slow', 'no-life', 'no-refresh-token'].includes(mode);

/** Milliseconds that a good answer takes. */
const quick = 50;
export const slowest = 3000;
/** What the client's HTTP waits for an answer: milliseconds. */
const patience = 20_000;

/** `busy` asks for so long a pause. */
export const pause = seconds(120);

/**
 * What becomes of a refresh token that was replaced.
 *   strict    whoever presents it again ends the whole family (RFC 9700 §4.14.2)
 *   lenient   it is honoured until its successor is used, as issuers with a grace period have it
 *   keeps     nothing is ever replaced
 */
export type Rotation = 'strict' | 'lenient' | 'keeps';

interface Family {
  dead: boolean;
  /** Requests with it that are under way, of this process. */
  open: { by: number; count: number };
  readonly number: number;
}

/** A refresh token as the issuer knows it. */
export interface Known {
  readonly family: Family;
  readonly number: number;
  readonly before: Known | undefined;
  replaced: boolean;
  /** Some successor of it was used. */
  outlived: boolean;
  /** The process that was told this one; 0: nobody. */
  toldTo: number;
  /** It was on disk. */
  kept: boolean;
  /** It could not be kept: what it belonged to had been taken away. */
  excused: boolean;
}

/** An access token as the issuer knows it. */
export interface Access {
  readonly family: Family;
  /** Of the refresh token that was good after it was given. */
  readonly number: number;
  /** In real time: milliseconds. */
  readonly ends: number;
  readonly life: Seconds;
  /** When it was made, as the wall clock of the access point had it then. */
  readonly made: EpochMs;
}

export interface ModelIssuerParts {
  readonly name: string;
  /** Real time, in milliseconds: what everybody's wall clock should show. */
  real(): number;
  /** The next thing happens when its turn has come. */
  turn(): Promise<void>;
  readonly clock: () => Clock;
  /** Which process asks. */
  readonly process: () => number;
  broken(rule: string): void;
  /** It is asked with this refresh token now. */
  sending(refreshToken: string): void;
}

/** An issuer in memory, which keeps account of what its clients do with their grants. */
export class ModelIssuer {
  mode: Mode = 'well';
  life = seconds(1200);
  rotation: Rotation = 'strict';
  requests = 0;
  readonly #refresh = new Map<string, Known>();
  readonly #access = new Map<string, Access>();
  /** Refresh tokens that were refused, rightly or not: nobody asks for them again of their own accord. */
  readonly refused = new Set<string>();
  #count = 0;

  constructor(private readonly parts: ModelIssuerParts) {}

  /** A grant as if someone had logged in. */
  grant(): string {
    return this.#remember({ dead: false, open: { by: 0, count: 0 }, number: ++this.#count }, undefined);
  }

  known(refreshToken: string): Known | undefined {
    return this.#refresh.get(refreshToken);
  }

  access(token: string | undefined): Access | undefined {
    return token === undefined ? undefined : this.#access.get(token);
  }

  /** What is known in memory alone of the successors of this refresh token is given up: that was taken away. */
  forget(refreshToken: string): void {
    const family = this.#refresh.get(refreshToken)?.family;
    for (const known of this.#refresh.values()) if (known.family === family && !known.kept) known.excused = true;
  }

  /** Whether it would be honoured now. */
  honours(refreshToken: string): boolean {
    const known = this.#refresh.get(refreshToken);
    if (known === undefined || known.family.dead) return false;
    return !known.replaced || (this.rotation === 'lenient' && !known.outlived);
  }

  /** As one process has it. */
  open(): Issuer {
    const mine = this.parts.process();
    const unused = () => Promise.reject(new Error('nobody asks that here'));
    return {
      token: (_type, parameters, request) => this.#token(parameters.refresh_token ?? '', request, mine),
      device: unused,
      identity: unused,
      revoke: unused,
      scopes: unused,
    };
  }

  #remember(family: Family, before: Known | undefined): string {
    const number = ++this.#count;
    const token = `secret-refresh-${this.parts.name}-${number}`;
    const state = { replaced: false, outlived: false, toldTo: 0, kept: false, excused: false };
    this.#refresh.set(token, { family, number, before, ...state });
    return token;
  }

  async #token(given: string, { stop, rotation }: TokenRequest, mine: number): Promise<TokenSet> {
    const { clock: clockNow, turn, name, process } = this.parts;
    const clock = clockNow();
    await turn();
    stop.throwIfAborted();
    this.requests++;
    rotation?.sending();
    this.parts.sending(given);
    const sent = momentOf(clock);
    const family = this.#refresh.get(given)?.family;
    // What was killed asks no more.
    if (family && family.open.by !== process()) family.open = { by: process(), count: 0 };
    const open = family?.open;
    if (open && ++open.count > 1) this.parts.broken(`two requests at once with one grant of ${name}`);
    try {
      const { mode } = this;
      const does = isWell(mode) || ['lost', 'hang-lost', 'faulty'].includes(mode);
      if (!does) {
        await clock.sleep(seconds((mode === 'hang' ? patience : quick) / 1000), stop);
        await turn();
        stop.throwIfAborted();
        // Of the others nobody could know.
        if (['busy', 'client', 'dead'].includes(mode)) rotation?.unchanged(false);
        throw this.#refusal(mode, given);
      }
      const next = this.#replace(given, mode === 'no-refresh-token');
      if (next === undefined) {
        await clock.sleep(seconds(quick / 1000), stop);
        await turn();
        stop.throwIfAborted();
        rotation?.unchanged(false);
        throw this.#refusal('dead', given);
      }
      const life = mode === 'no-life' ? assumedLife : this.life;
      const accessToken = `secret-access-${name}-${++this.#count}`;
      const known = this.#refresh.get(next) as Known;
      const ends = this.parts.real() + life * 1000;
      this.#access.set(accessToken, { family: known.family, number: known.number, ends, life, made: clock.now() });
      const takes = mode === 'slow' ? slowest : mode === 'hang-lost' ? patience : quick;
      await clock.sleep(seconds(takes / 1000), stop);
      await turn();
      stop.throwIfAborted();
      if (mode === 'lost' || mode === 'hang-lost') throw new Failed(down(name, 'the connection was reset'));
      this.refused.delete(given);
      if (next === given) rotation?.unchanged(true);
      else {
        known.toldTo = mine;
        await rotation?.keep(next);
      }
      if (mode === 'faulty') throw new Failed({ kind: 'protocol', what: `${name} answered against the standards` });
      // As providers/issuer.ts has it.
      const issued = madeAt(sent, momentOf(clock));
      return {
        accessToken,
        tokenType: 'bearer',
        issued,
        expires: later(issued, life),
        lifeFrom: mode === 'no-life' ? 'default' : 'expires_in',
        ...(next !== given && { refreshToken: next }),
      };
    } finally {
      if (open) open.count--;
    }
  }

  /** The refresh token that is good from now on; undefined where the given one is not honoured. */
  #replace(given: string, keep: boolean): string | undefined {
    const known = this.#refresh.get(given);
    if (known === undefined) return undefined;
    if (known.replaced) this.#again(given, known);
    if (!this.honours(given)) return undefined;
    for (let before = known.before; before && !before.outlived; before = before.before) before.outlived = true;
    if (keep || this.rotation === 'keeps') return given;
    known.replaced = true;
    return this.#remember(known.family, known);
  }

  /** Was it known to whoever presents it that there is another? */
  #again(given: string, known: Known): void {
    const mine = this.parts.process();
    const wellKnown = [...this.#refresh.values()].some(
      (next) => next.before === known && !next.excused && (next.kept || next.toldTo === mine),
    );
    if (wellKnown && !known.family.dead) this.parts.broken(`a rotated token was used again: ${given}`);
    if (this.rotation !== 'lenient') known.family.dead = true;
    else if (known.outlived) {
      known.family.dead = true;
      this.parts.broken(`lost in spite of a grace period: ${given}`);
    }
  }

  #refusal(mode: Mode, given: string): Failed {
    const { name } = this.parts;
    switch (mode) {
      case 'dead':
        this.refused.add(given);
        return new Failed({ kind: 'login-needed', what: `${name} refused: invalid_grant`, code: 'invalid_grant' });
      case 'client':
        return new Failed({ kind: 'refused', what: `${name} refused: invalid_client`, code: 'invalid_client' });
      case 'busy':
        return new Failed({ ...down(name, 'HTTP 429'), wait: pause });
      case 'page':
        return new Failed({ kind: 'protocol', what: `${name} answered against the standards` });
      default:
        return new Failed(down(name, mode));
    }
  }
}

const down = (name: string, why: string): Failure => ({ kind: 'transient', what: `cannot reach ${name}: ${why}` });
