/*
 * How soon a login is a token: from a `.top` that appears to its `.use`, over the issuer's own latency, with ever more
 * credentials that are there already.
 *
 *     npm run bench:latency [-- --credentials 100,10000,100000] [-- --rounds 40] [-- --latency 50] [-- --dir /dev/shm]
 *                           [-- --json FILE] [-- --markdown FILE]
 *
 * The built credmond keeps so many users with a good token each, until it has told everybody's status and is at rest. Then, one
 * after the other, `.top` files come as condor_credd writes them (a temporary file, renamed), and are timed to the moment at
 * which the `.use` bears its name:
 *   - of a new user, whose folder was made right before;
 *   - of a user who is there and whose folder is watched, with another handle;
 *   - of one whose folder is not, since very many are: seen with the SIGHUP of condor_credd, or with the next sweep;
 * each with the SIGHUP that condor_credd sends where there is no `.use` yet, and the first two without. About eight minutes.
 */
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { atRest } from './kit/at-rest.js';
import { startBenchIssuer, tokenOf } from './kit/issuer.js';
import { heading, keep, type Row } from './kit/outcome.js';
import { makePoint, startCredmond } from './kit/point.js';
import { show } from './kit/sheets.js';

const { values } = parseArgs({
  options: {
    credentials: { type: 'string', default: '100,10000,100000' },
    rounds: { type: 'string', default: '40' },
    latency: { type: 'string', default: '50' },
    dir: { type: 'string' },
    json: { type: 'string' },
    markdown: { type: 'string' },
  },
});
const [rounds, latency] = [Number(values.rounds), Number(values.latency)];
const day = 86_400;
/** A SIGHUP's sweep is followed by a rest, which the next one waits for: so much longer is waited here, per credential. */
const restEach = 0.02;
/** Between two cases: milliseconds. */
const quiet = 5500;

/** The inodes that a process watches (proc(5), fdinfo of inotify). */
function watchedBy(pid: number): Set<number> {
  const watched = new Set<number>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      if (readlinkSync(`/proc/${pid}/fd/${fd}`) !== 'anon_inode:inotify') continue;
      const text = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8');
      for (const [, inode] of text.matchAll(/^inotify .*\bino:([0-9a-f]+)/gm))
        watched.add(Number.parseInt(inode ?? '', 16));
    } catch {
      // Closed meanwhile.
    }
  }
  return watched;
}

const at = (list: readonly number[], part: number): number =>
  [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * part))] as number;

async function measure(count: number): Promise<Row> {
  const issuer = await startBenchIssuer({ latency, life: day });
  const point = makePoint({ demo: issuer.url }, {}, values.dir, 60);
  try {
    for (let n = 0; n < count; n++) {
      const issued = Date.now() / 1000 - 3600 * (1 + Math.random());
      point.put(`user${n}`, 'demo', { issued, expires: issued + day });
    }
    const credmond = await startCredmond(point);
    await atRest(credmond);
    let watched = watchedBy(credmond.pid);
    const first = watched.size;
    const there = Array.from({ length: count }, (_, n) => join(point.creds, `user${n}`));
    const isWatched = (folder: string) => watched.has(statSync(folder).ino);
    const known = there.slice(0, count);
    /** One that was not taken yet. Those that are watched give way to new ones. */
    const take = (which: (folder: string) => boolean): string => {
      watched = watchedBy(credmond.pid);
      const at = known.findIndex(which);
      if (at < 0) throw new Error('no such folder is left');
      return known.splice(at, 1)[0] as string;
    };

    /** Milliseconds to the `.use`. */
    const login = (folder: string, name: string, hup: boolean): Promise<number> => {
      const path = join(folder, name);
      const text = JSON.stringify({ refresh_token: tokenOf(`${folder}/${name}`.replaceAll(/\W/g, '')) });
      return new Promise((done, failed) => {
        const late = setTimeout(() => failed(new Error(`no ${path}.use within 30 s`)), 30_000);
        let begun = 0;
        const watcher = watch(folder, (_, seen) => {
          if (seen !== `${name}.use`) return;
          const taken = performance.now() - begun;
          watcher.close();
          clearTimeout(late);
          done(taken);
        });
        writeFileSync(`${path}.top.tmp`, text, { mode: 0o600 });
        begun = performance.now();
        renameSync(`${path}.top.tmp`, `${path}.top`);
        if (hup) credmond.child.kill('SIGHUP');
      });
    };

    let number = 0;
    /** Milliseconds of the same request, asked directly. */
    const direct = async (): Promise<number> => {
      const form = { grant_type: 'refresh_token', client_id: 'bench', refresh_token: tokenOf(`direct${number}`) };
      const begun = performance.now();
      await (await fetch(`${issuer.url}/token`, { method: 'POST', body: new URLSearchParams(form) })).text();
      return performance.now() - begun;
    };
    const timed = async (folders: () => string, hup: boolean): Promise<{ own: number[]; taken: number[] }> => {
      const [own, taken]: [number[], number[]] = [[], []];
      // The sweeps of the case before are over by then.
      await pause(quiet);
      for (let round = 0; round < rounds; round++) {
        await pause(100 + 100 * Math.random() + (hup ? restEach * count : 0));
        const folder = folders();
        own.push(await direct());
        mkdirSync(folder, { mode: 0o700, recursive: true });
        taken.push(await login(folder, `demo_h${number++}`, hup));
      }
      return { own, taken };
    };

    const another = () => join(point.creds, `new${number}`);
    const cases = {
      new: () => timed(another, false),
      newHup: () => timed(another, true),
      watched: () => timed(() => take(isWatched), false),
      watchedHup: () => timed(() => take(isWatched), true),
      ...(there.some((folder) => !isWatched(folder)) && {
        farHup: () => timed(() => take((folder) => !isWatched(folder)), true),
      }),
    };
    // What is loaded at the first request is no login's.
    await timed(another, true);
    const row: Record<string, number> = { credentials: count, watched_: first };
    for (const [name, run] of Object.entries(cases)) {
      const { own, taken } = await run();
      const over = (part: number) => at(taken, part) - at(own, 0.5);
      Object.assign(row, { issuer: at(own, 0.5), [`${name}P50`]: over(0.5), [`${name}P99`]: over(0.99) });
      console.log(
        `${count} ${name}: ${over(0.5).toFixed(1)} ms over the issuer's ${at(own, 0.5).toFixed(1)}, p99 ${over(0.99).toFixed(1)}`,
      );
    }
    await credmond.stop();
    return row;
  } finally {
    await issuer.stop();
    point.remove();
  }
}

console.log(heading(values.dir));
const rows: Row[] = [];
for (const count of values.credentials.split(',')) rows.push(await measure(Number(count)));
show('latency', keep(values.json, rows, { latency, rounds }, values.dir), values.markdown);
