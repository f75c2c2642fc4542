import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { path, userArgv } from './pool.js';

const program = '/opt/crowd.py';

/** How far a client has come; times are milliseconds of one clock. */
export interface Visit {
  readonly id: string;
  code?: string;
  codeAt?: number;
  /** Exit status, 128 + n for signal n. */
  ended?: number;
  endedAt?: number;
  /** The end of what it has shown. */
  said?: string;
}

/** Many people at terminals (clients/crowd.py), each with a client, by a name of one's own. */
export interface Crowd {
  start(id: string, command: string): Visit;
  /** Presses Enter. */
  enter(id: string): void;
  kill(id: string): void;
  /** Looks at all of them whenever something happens, until it holds. Throws after `limit` milliseconds. */
  until(what: string, holds: (visits: readonly Visit[]) => boolean, limit?: number): Promise<void>;
  close(): Promise<void>;
}

export async function openCrowd(): Promise<Crowd> {
  await copyFile(fileURLToPath(new URL('clients/crowd.py', import.meta.url)), path(program));
  const [file = '', ...args] = userArgv('carol', `exec python3 ${program}`);
  const child: ChildProcess = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const visits = new Map<string, Visit>();
  let looked: () => void = () => undefined;
  createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
    const { id, at, code, ended, said } = JSON.parse(line);
    const visit = visits.get(id);
    if (visit && code !== undefined) Object.assign(visit, { code, codeAt: at });
    if (visit && ended !== undefined) Object.assign(visit, { ended, endedAt: at, said });
    looked();
  });
  const order = (line: string) => void child.stdin?.write(`${line}\n`);
  return {
    start(id, command) {
      const visit: Visit = { id };
      visits.set(id, visit);
      order(`start ${id} ${command}`);
      return visit;
    },
    enter: (id) => order(`enter ${id}`),
    kill: (id) => order(`kill ${id}`),
    until(what, holds, limit = 60_000) {
      return new Promise((resolve, reject) => {
        const late = setTimeout(() => {
          looked = () => undefined;
          const all = [...visits.values()];
          const told = all.filter(({ ended }) => ended !== undefined).slice(-3);
          const counts = `${all.length} visits, ${all.filter(({ code }) => code).length} codes`;
          reject(new Error(`not within ${limit} ms: ${what} (${counts})\n${JSON.stringify(told, null, 1)}`));
        }, limit);
        looked = () => {
          if (!holds([...visits.values()])) return;
          clearTimeout(late);
          looked = () => undefined;
          resolve();
        };
        looked();
      });
    },
    async close() {
      const gone = once(child, 'exit');
      child.stdin?.end();
      await gone;
    },
  };
}
