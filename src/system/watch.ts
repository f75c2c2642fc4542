import { type FSWatcher, watch } from 'node:fs';
import { join } from 'node:path';

export interface Watch {
  /** Also watches what lies in this folder of the root. */
  add(folder: string): void;
  /** How many folders could not be watched, and why: then only sweeping sees what changes there. */
  readonly unwatched: { readonly count: number; readonly why: string };
  close(): void;
}

/**
 * Watches a folder and some of the folders in it (inotify). `seen(folder)` is called a little after something changed in
 * `folder`, or in the root with the entry's name; events that follow each other closely are one. Events may be missed, so
 * whoever needs certainty sweeps now and then.
 */
export function watchTree(root: string, seen: (folder: string) => void, gather = 20): Watch {
  const watchers = new Map<string, FSWatcher>();
  const timers = new Map<string, NodeJS.Timeout>();
  const unwatched = { count: 0, why: '' };
  let closed = false;

  const notice = (folder: string) => {
    if (closed || timers.has(folder)) return;
    const tell = () => {
      timers.delete(folder);
      seen(folder);
    };
    timers.set(folder, setTimeout(tell, gather));
  };

  const start = (folder: string | undefined) => {
    const key = folder ?? '';
    if (watchers.has(key) || closed) return;
    const forget = () => {
      watchers.get(key)?.close();
      watchers.delete(key);
    };
    try {
      const watcher = watch(folder === undefined ? root : join(root, folder), (event, name) => {
        if (folder === undefined) {
          if (name !== null) notice(name);
          return;
        }
        // A removed folder's watch tells of itself under its own name and then never again.
        if (event === 'rename' && name === folder) forget();
        notice(folder);
      });
      watcher.on('error', forget);
      watchers.set(key, watcher);
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR') return;
      unwatched.count++;
      unwatched.why = code ?? String(thrown);
    }
  };

  start(undefined);
  return {
    add: start,
    unwatched,
    close() {
      closed = true;
      for (const watcher of watchers.values()) watcher.close();
      for (const timer of timers.values()) clearTimeout(timer);
    },
  };
}
