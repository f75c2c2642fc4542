import { closeSync, constants, existsSync, type FSWatcher, lstatSync, openSync, readFileSync, watch } from 'node:fs';
import { basename, join } from 'node:path';

/**
 * So many folders are all watched, if that is no more than half of what the system lets us; of more, since a watch costs a good
 * kilobyte of memory, fewer.
 */
const [all, some] = [12_000, 4_000];
/** How many watches a user may have, where the system does not say. */
const usualLimit = 8192;

/** Each of which one lets go is looked at: so many at a time. */
const atOnce = 100;

/** How many are watched of so many. `limit`: fs.inotify.max_user_watches. */
export function roomFor(folders: number, limit: number = setting('max_user_watches', usualLimit)): number {
  const together = Math.max(some, Math.min(all, Math.floor(limit / 2)));
  return folders > together ? some : together;
}

/** How many events the kernel keeps until somebody reads them, where it does not say. */
const usualQueue = 16_384;

export interface WatchOptions {
  /** `seen` is called so much after an event, for all that follow it meanwhile: milliseconds. */
  readonly gather?: number;
  /** How many folders are watched besides the root, or how many of so many. Default: {@link roomFor}. */
  readonly room?: number | ((folders: number) => number);
  /** How many events the kernel keeps. Default: fs.inotify.max_queued_events. */
  readonly queue?: number;
  /** Which names in a folder are worth telling of. Default: all. */
  matters?(name: string, folder: string): boolean;
  /** So much happened at once that events were lost, or may have been: look at everything. */
  lost?(): void;
}

export interface Watch {
  /**
   * Also watches what lies in this folder of the root, if there is room; `first`: in the place of the one of which nothing was
   * heard for longest, which is told of once more. Those that are watched already may be named again.
   */
  add(folder: string, first?: boolean): void;
  /** There are so many folders. Where fewer of so many are watched, those of which nothing was heard for longest go by and by. */
  fit(folders: number): void;
  /** For whoever sweeps: the root is tried again where it could not be watched; which of its folders are to be added again. */
  again(): readonly string[];
  readonly watched: number;
  /** How many of its folders may be watched, as far as is known. */
  readonly room: number;
  /** The errno of why the system lets us watch no more: as long as there is something that only sweeping sees. */
  readonly refused: string | undefined;
  close(): void;
}

/**
 * Watches a folder and some of the folders in it (inotify). `seen(folder)` is called a little after something changed in
 * `folder`, or in the root with the entry's name; events that follow each other closely are one. With `leaving`, something may
 * have changed in `folder` before its place was given to another. Events may be missed, so whoever needs certainty sweeps now
 * and then.
 */
export function watchTree(
  root: string,
  seen: (folder: string, leaving: boolean) => void,
  options: WatchOptions = {},
): Watch {
  const {
    gather = 5,
    queue = setting('max_queued_events', usualQueue),
    matters = () => true,
    lost = () => {},
  } = options;
  /** In the order in which something was heard of them; the root apart. */
  const watchers = new Map<string, FSWatcher>();
  let itself: FSWatcher | undefined;
  let rootRefused = false;
  /** Whose end may have been among the events that were lost. */
  let doubtful = new Set<string>();
  const timers = new Map<string, NodeJS.Timeout>();
  const { room: fixed = roomFor } = options;
  const roomOf = typeof fixed === 'number' ? () => fixed : (folders: number) => fixed(folders);
  let most = roomOf(0);
  let room = most;
  let refused: string | undefined;
  /** It is not asked again before the next sweep. */
  let full = false;
  /** What it refused. */
  const unwatched = new Set<string>();
  /** Who gave way, until that is told. */
  const leaving = new Set<string>();
  let closed = false;
  let burst = 0;

  /** libuv passes over the event that tells of lost ones, and hands on in one turn whatever the kernel has kept. */
  const count = () => {
    if (burst++ === 0) setImmediate(() => (burst = 0));
    if (burst !== Math.ceil(queue / 2)) return;
    doubtful = new Set(watchers.keys());
    lost();
  };

  const notice = (folder: string) => {
    if (closed || timers.has(folder)) return;
    const tell = () => {
      timers.delete(folder);
      seen(folder, leaving.delete(folder) && !watchers.has(folder));
    };
    timers.set(folder, setTimeout(tell, gather));
  };

  /** Something was heard of it just now. */
  const hear = (folder: string) => {
    const there = watchers.get(folder);
    if (there === undefined) return;
    watchers.delete(folder);
    watchers.set(folder, there);
  };

  const forget = (folder: string) => {
    watchers.get(folder)?.close();
    watchers.delete(folder);
  };

  const giveUp = (folder: string) => {
    forget(folder);
    // With its watch goes what the kernel has kept for it.
    leaving.add(folder);
    notice(folder);
  };

  const start = (path: string, flags: number, folder?: string): FSWatcher | 'gone' | 'refused' => {
    try {
      return open(path, flags, folder, happened, failed);
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException;
      if (code !== undefined && ['ENOENT', 'ENOTDIR', 'ELOOP'].includes(code)) return 'gone';
      refused = code ?? String(thrown);
      full = true;
      return 'refused';
    }
  };

  /** `folder`: undefined for the root. `name`: null for the watched folder itself. */
  const happened = (folder: string | undefined, event: string, name: string | null) => {
    count();
    if (folder === undefined) {
      // Files of our own among them, of which one changes with every refresh.
      if (name !== null && !name.startsWith('.')) notice(name);
      return;
    }
    // A removed folder's watch tells of itself, and then never again.
    if (name === null && event === 'rename') forget(folder);
    if (name !== null && !matters(name, folder)) return;
    hear(folder);
    notice(folder);
  };

  /** One for all, since there are very many of them and it hardly ever happens. */
  function failed(this: FSWatcher): void {
    if (this === itself) {
      this.close();
      itself = undefined;
    }
    for (const [folder, watcher] of watchers) if (watcher === this) forget(folder);
  }

  const watchRoot = () => {
    // Its name may be a link: that is the administrator's.
    const watcher = start(root, 0);
    rootRefused = watcher === 'refused';
    if (typeof watcher !== 'string') itself = watcher;
  };

  /** Whether it is. */
  const watchFolder = (folder: string): boolean => {
    const watcher = start(join(root, folder), constants.O_NOFOLLOW, folder);
    if (watcher === 'refused') {
      if (unwatched.size < most) unwatched.add(folder);
      return false;
    }
    unwatched.delete(folder);
    settle();
    if (watcher === 'gone') return false;
    watchers.set(folder, watcher);
    return true;
  };

  const settle = () => {
    if (!rootRefused && unwatched.size === 0) refused = undefined;
  };

  watchRoot();
  return {
    add(folder, first = false) {
      if (closed || folder === '') return;
      if (watchers.has(folder) && !doubtful.has(folder)) {
        if (first) hear(folder);
        return;
      }
      doubtful.delete(folder);
      forget(folder);
      if (full) room = Math.min(room, watchers.size);
      if (watchers.size >= room) {
        const [oldest] = watchers.keys();
        const giveWay = first && oldest !== undefined;
        if (giveWay && !isFolder(join(root, folder))) {
          if (unwatched.delete(folder)) settle();
          return;
        }
        if (full && unwatched.size < most) unwatched.add(giveWay ? oldest : folder);
        // There is no room, but the system would let us.
        else if (!full && unwatched.delete(folder)) settle();
        if (!giveWay) return;
        giveUp(oldest);
        // It may be refused all the same: then nobody gives way.
        if (!watchFolder(folder)) watchFolder(oldest);
        return;
      }
      watchFolder(folder);
    },
    fit(folders) {
      most = roomOf(folders);
      room = most;
    },
    again() {
      if (closed) return [];
      full = false;
      room = most;
      let number = 0;
      for (const folder of watchers.keys()) {
        if (watchers.size <= room || number++ === atOnce) break;
        giveUp(folder);
      }
      if (itself === undefined) watchRoot();
      settle();
      return [...unwatched];
    },
    get watched() {
      return watchers.size;
    },
    get room() {
      return full ? Math.min(room, watchers.size) : room;
    },
    get refused() {
      return refused;
    },
    close() {
      closed = true;
      itself?.close();
      for (const watcher of watchers.values()) watcher.close();
      for (const timer of timers.values()) clearTimeout(timer);
    },
  };
}

/** No link is followed. */
function isFolder(path: string): boolean {
  try {
    return lstatSync(path).isDirectory();
  } catch {
    return false;
  }
}

const proc = existsSync('/proc/self/fd');

/**
 * `happened` is told the folder, and null for a name where it is about the folder itself.
 * Through its open self, as long as it takes to begin: what is put in its place meanwhile is not watched, nor, with
 * O_NOFOLLOW, what a link in its place leads to. Each keeps one function of ours: more would be most of its memory.
 */
function open(
  path: string,
  flags: number,
  folder: string | undefined,
  happened: (folder: string | undefined, event: string, name: string | null) => void,
  failed: (this: FSWatcher) => void,
): FSWatcher {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | flags);
  try {
    return started(proc ? `/proc/self/fd/${fd}` : path, folder, happened).on('error', failed);
  } finally {
    closeSync(fd);
  }
}

function started(path: string, folder: string | undefined, happened: Parameters<typeof open>[3]): FSWatcher {
  const own = basename(path);
  return watch(path, (event, name) => happened(folder, event, name === own ? null : name));
}

/** Of inotify(7). */
function setting(name: string, usual: number): number {
  try {
    return Number(readFileSync(`/proc/sys/fs/inotify/${name}`, 'utf8')) || usual;
  } catch {
    return usual;
  }
}
