import { randomInt } from 'node:crypto';
import { Failed, type Failure, failureOf } from '../../core/failure.js';
import type { Clock, DeviceCode } from '../../core/ports.js';
import { waitFor } from '../../core/shared.js';
import { later, seconds } from '../../core/time.js';

/** How long what was heard of the issuer stands for what it would say now, and how often it is asked at the most: ms. */
const freshMs = 60_000;
/** How many latencies and codes are remembered. */
const most = 32;

/** What the issuer said last when a code was asked of it. */
interface Heard {
  /** On the steady clock. */
  readonly at: number;
  readonly took: number;
  readonly failure?: Failure;
}

/**
 * Codes for accounts that nobody may log in to: alike in shape, life and latency to those that the issuer gives, so that
 * neither what is shown nor when tells whether an account is there. No request is made for such an account: what is not
 * known from real logins is learnt by `probe`, a request that belongs to nobody, at most once a minute.
 */
export class Decoys {
  readonly #latencies: number[] = [];
  readonly #codes: string[] = [];
  #last: { readonly code: DeviceCode; readonly lifeMs: number } | undefined;
  #heard: Heard | undefined;
  #probing: Promise<unknown> | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly probe: () => Promise<unknown>,
  ) {}

  /** Asks for a real code and remembers what came of it. `begun`: when sshd asked, in steady milliseconds. */
  async observe(begun: number, stop: AbortSignal, ask: () => Promise<DeviceCode>): Promise<DeviceCode> {
    try {
      const code = await ask();
      keep(this.#codes, code.userCode);
      this.#last = { code, lifeMs: code.expires - this.clock.now() };
      this.#hear(begun);
      return code;
    } catch (thrown) {
      const failure = failureOf(thrown);
      if (failure && !stop.aborted) this.#hear(begun, failure);
      throw thrown;
    }
  }

  /** A code that no issuer knows, as late as a real one; throws what a real request would. */
  async code(begun: number, stop: AbortSignal): Promise<DeviceCode> {
    if (this.#heard === undefined || this.clock.steady() - this.#heard.at > freshMs) await waitFor(this.#learn(), stop);
    const failure = this.#heard?.failure ?? (this.#last === undefined ? unknown : undefined);
    const usual = this.#latencies[randomInt(Math.max(1, this.#latencies.length))];
    const left = begun + ((failure ? this.#heard?.took : usual) ?? 0) - this.clock.steady();
    if (left > 0) await this.clock.sleep(seconds(left / 1000), stop);
    if (failure || !this.#last) throw new Failed(failure ?? unknown);
    return this.#made(this.#last);
  }

  #hear(begun: number, failure?: Failure): void {
    const now = this.clock.steady();
    if (!failure) keep(this.#latencies, now - begun);
    this.#heard = { at: now, took: now - begun, ...(failure && { failure }) };
  }

  /** One request for all who want to know meanwhile. Never rejects. */
  #learn(): Promise<unknown> {
    this.#probing ??= this.probe()
      .catch(() => undefined)
      .then(() => {
        this.#probing = undefined;
      });
    return this.#probing;
  }

  #made({ code, lifeMs }: { readonly code: DeviceCode; readonly lifeMs: number }): DeviceCode {
    const alphabet = alphabetOf(this.#codes);
    const userCode = code.userCode.replace(/[\p{L}\p{N}]/gu, () => alphabet[randomInt(alphabet.length)] ?? 'X');
    const { linkComplete, link, interval } = code;
    return {
      deviceCode: '',
      userCode,
      link,
      ...(linkComplete !== undefined && { linkComplete: linkWith(linkComplete, code.userCode, userCode) }),
      expires: later(this.clock.now(), lifeMs / 1000),
      ...(interval !== undefined && { interval }),
    };
  }
}

const unknown: Failure = { kind: 'transient', what: 'the issuer cannot be reached', hint: 'try again later' };

function keep<T>(list: T[], value: T): void {
  list.push(value);
  if (list.length > most) list.shift();
}

/** RFC 8628 §6.1: without vowels, so that no words come of it. */
const consonants = 'BCDFGHJKLMNPQRSTVWXZ';
const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';

/** What codes are made of, to judge by those that were seen. */
function alphabetOf(codes: readonly string[]): readonly string[] {
  const seen = [...new Set(codes.join(''))].filter((character) => /[\p{L}\p{N}]/u.test(character));
  // Enough of them show it by themselves.
  if (codes.length >= most) return seen;
  const upper = seen.filter((character) => letters.includes(character));
  const lower = seen.filter((character) => letters.toLowerCase().includes(character));
  const of = (some: readonly string[]) =>
    some.length === 0 ? '' : some.every((one) => consonants.includes(one.toUpperCase())) ? consonants : letters;
  const digits = seen.some((character) => /\d/.test(character)) ? '0123456789' : '';
  const all = [...of(upper), ...of(lower).toLowerCase(), ...digits];
  return all.length === 0 ? [...letters] : all;
}

/** The link with the other code in it, however it is written there. */
function linkWith(link: string, code: string, other: string): string {
  const bare = (text: string) => text.replace(/[^\p{L}\p{N}]/gu, '');
  for (const write of [(text: string) => text, encodeURIComponent, bare]) {
    if (link.includes(write(code))) return link.replaceAll(write(code), () => write(other));
  }
  // Something else stands for it: what comes last.
  return link.replace(/[A-Za-z0-9]+(?=[^A-Za-z0-9]*$)/, (last) =>
    last
      .replace(/\d/g, () => String(randomInt(10)))
      .replace(/[A-Z]/g, () => letters[randomInt(26)] ?? 'A')
      .replace(/[a-z]/g, () => (letters[randomInt(26)] ?? 'A').toLowerCase()),
  );
}
