import type { Clock } from '../../core/ports.js';

/** How long an approval waits for sshd to let the person in, and a refusal is remembered: milliseconds. */
const pendingMs = 60_000;
const deniedMs = 10 * 60_000;
/** How many refusals are remembered: strangers can be refused as often as sshd takes connections. */
const mostDenied = 10_000;

/** The phases of one login: of one connection, to one account. */
export interface LoginKey {
  readonly user: string;
  readonly connection: string;
}

interface Approved<T> {
  readonly value: T;
  readonly forget: () => void;
}

/** How an auth phase ended that is not gone over again. */
type Refusing = 'denied' | 'unavailable';

/** What was decided in the auth phase, for the phases to come. Nothing of it is ever on disk. */
export class Pending<T> {
  readonly #approved = new Map<string, Approved<T>>();
  readonly #denied = new Map<string, () => void>();
  readonly #settled = new Map<string, { readonly how: Refusing; readonly forget: () => void }>();

  /** `drop` is told of what nobody took. */
  constructor(
    private readonly clock: Clock,
    private readonly drop: (value: T) => void,
  ) {}

  get size(): number {
    return this.#approved.size;
  }

  /** It begins anew: nothing is decided. */
  clear(key: LoginKey): void {
    const value = this.take(key);
    if (value !== undefined) this.drop(value);
    this.#denied.get(idOf(key))?.();
    this.#denied.delete(idOf(key));
  }

  approve(key: LoginKey, value: T): void {
    this.clear(key);
    const id = idOf(key);
    const forget = this.clock.after(pendingMs, () => this.clear(key));
    this.#approved.set(id, { value, forget });
  }

  /** A denial is the last word of its connection until it is approved there. */
  deny(key: LoginKey): void {
    this.clear(key);
    const id = idOf(key);
    makeRoom(this.#denied, (forget) => forget());
    this.#denied.set(
      id,
      this.clock.after(deniedMs, () => this.#denied.delete(id)),
    );
  }

  /** Its client may start over (OpenSSH's does so twice): this is what it hears then, and nobody is asked again. */
  settle(key: LoginKey, how: Refusing): void {
    const id = idOf(key);
    this.#settled.get(id)?.forget();
    makeRoom(this.#settled, ({ forget }) => forget());
    this.#settled.set(id, { how, forget: this.clock.after(deniedMs, () => this.#settled.delete(id)) });
  }

  settled(key: LoginKey): Refusing | undefined {
    return this.#settled.get(idOf(key))?.how;
  }

  isDenied(key: LoginKey): boolean {
    return this.#denied.has(idOf(key));
  }

  approvedFor(key: LoginKey): T | undefined {
    return this.#approved.get(idOf(key))?.value;
  }

  /** Once. */
  take(key: LoginKey): T | undefined {
    const found = this.#approved.get(idOf(key));
    this.#approved.delete(idOf(key));
    found?.forget();
    return found?.value;
  }

  close(): void {
    for (const { value, forget } of this.#approved.values()) {
      forget();
      this.drop(value);
    }
    for (const forget of this.#denied.values()) forget();
    for (const { forget } of this.#settled.values()) forget();
    this.#approved.clear();
    this.#denied.clear();
    this.#settled.clear();
  }
}

/** The oldest goes: without it a client that starts over is asked anew, and let in by nothing but an approval. */
function makeRoom<T>(map: Map<string, T>, forget: (value: T) => void): void {
  const [oldest] = map;
  if (oldest === undefined || map.size < mostDenied) return;
  map.delete(oldest[0]);
  forget(oldest[1]);
}

const idOf = ({ user, connection }: LoginKey): string => JSON.stringify([connection, user]);
