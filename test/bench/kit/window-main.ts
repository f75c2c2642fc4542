/*
 * Loaded into credmond before itself (node --import): when each answer's last byte was read, when the `.top` of its credential
 * was durable, and what the disk itself took of that. Written beside the log file when credmond ends.
 */
import { subscribe } from 'node:diagnostics_channel';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

/** Milliseconds: the window, and of that the two fsyncs (file and folder); whose it was. */
const samples: { user: string; window: number; disk: number }[] = [];
/** When the last byte of an answer was read, by folder. */
const answered = new Map<string, number>();
const disk = new Map<string, number>();
const asked = new WeakMap<object, string>();

subscribe('undici:request:create', (message) => {
  const { request } = message as { request: { body?: unknown } };
  const user = /refresh_token=bench\.(\w+)/.exec(String(request.body))?.[1];
  if (user !== undefined) asked.set(request, user);
});
subscribe('undici:request:trailers', (message) => {
  const user = asked.get((message as { request: object }).request);
  if (user !== undefined) answered.set(user, performance.now());
});

const { fsync } = fs;
type Fsync = (fd: number, then: (thrown: NodeJS.ErrnoException | null) => void) => void;
const timed: Fsync = (fd, then) => {
  const path = fs.readlinkSync(`/proc/self/fd/${fd}`);
  const user = /\/creds\/(\w+)/.exec(path)?.[1] ?? '';
  const begun = performance.now();
  fsync(fd, (thrown) => {
    const now = performance.now();
    const took = (disk.get(user) ?? 0) + now - begun;
    const since = answered.get(user);
    if (since === undefined || !path.endsWith(`/${user}`)) disk.set(user, took);
    else {
      samples.push({ user, window: now - since, disk: took });
      answered.delete(user);
      disk.delete(user);
    }
    then(thrown);
  });
};
Object.assign(fs, { fsync: timed });
syncBuiltinESMExports();

process.on('exit', () => {
  const log = process.argv[process.argv.indexOf('--log-file') + 1];
  fs.writeFileSync(`${log}.window`, JSON.stringify(samples));
});
