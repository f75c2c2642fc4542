import { basename, dirname } from 'node:path';
import type { Clock } from '../core/ports.js';
import { later } from '../core/time.js';
import { errnoOf, openDir, removeSecret, sweepStrays, writeSecret } from '../stores/atomic.js';

/** Leftovers of crashed writes are removed when they are this old: seconds. */
const strayAge = 60;

/**
 * A file for node_exporter's textfile collector, in a folder that is there already and may be another account's: it is opened
 * without following a link, and nothing else in it is touched. Everybody may read it.
 */
export class MetricsFile {
  #swept: string | undefined;

  constructor(private readonly clock: Pick<Clock, 'now'>) {}

  /** Whole or not at all: node_exporter never sees half of it. Throws Failed('storage'). */
  async write(path: string, text: string): Promise<void> {
    const folder = openDir(dirname(path));
    try {
      if (this.#swept !== path) sweepStrays(folder, later(this.clock.now(), -strayAge));
      this.#swept = path;
      await writeSecret(folder, basename(path), text, { durable: false, mode: 0o644 });
    } finally {
      folder.close();
    }
  }

  /** It may be gone already, with its folder. Throws Failed('storage'). */
  async remove(path: string): Promise<void> {
    try {
      const folder = openDir(dirname(path));
      try {
        await removeSecret(folder, basename(path), { durable: false });
      } finally {
        folder.close();
      }
    } catch (thrown) {
      if (errnoOf(thrown) !== 'ENOENT') throw thrown;
    }
  }
}
