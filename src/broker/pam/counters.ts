import { randomBytes } from 'node:crypto';
import { chmod, rename, unlink, writeFile } from 'node:fs/promises';
import type { Clock, Log } from '../../core/ports.js';
import { outcomes, type SshLogins } from '../../core/ssh-logins.js';
import type { EpochMs } from '../../core/time.js';
import { codeOf } from '../trouble.js';

type Name = (typeof outcomes)[number];

/** The file is written at most so often: milliseconds. */
const pauseMs = 1000;

/** What ssh logins came to since the broker started, for `credmon status`: a file that everybody may read. */
export class Counters {
  readonly #counts = Object.fromEntries(outcomes.map((name) => [name, 0])) as Record<Name, number>;
  readonly #since: EpochMs;
  #waits = false;
  #cancel: () => void = () => undefined;
  /** One after the other: the file is to end with the last counts, and nothing is written once all is written. */
  #written: Promise<void> = Promise.resolve();

  constructor(
    private readonly path: string,
    private readonly clock: Clock,
    private readonly log: Log,
  ) {
    this.#since = clock.now();
  }

  get(name: Name): number {
    return this.#counts[name];
  }

  count(name: Name): void {
    this.#counts[name]++;
    if (this.#waits) return;
    this.#waits = true;
    this.#cancel = this.clock.after(pauseMs, () => void this.write());
  }

  /** Resolves when the counts of now are there. Never rejects. */
  write(): Promise<void> {
    this.#cancel();
    this.#waits = false;
    this.#written = this.#written.then(() => this.#write());
    return this.#written;
  }

  async #write(): Promise<void> {
    const told: SshLogins = { ...this.#counts, since: this.#since };
    const temporary = `${this.path}.${randomBytes(8).toString('hex')}.tmp`;
    try {
      await writeFile(temporary, `${JSON.stringify(told)}\n`, { flag: 'wx' });
      await chmod(temporary, 0o644);
      await rename(temporary, this.path);
    } catch (thrown) {
      await unlink(temporary).catch(() => undefined);
      this.log.debug(`${this.path} cannot be written (${codeOf(thrown)})`);
    }
  }
}
