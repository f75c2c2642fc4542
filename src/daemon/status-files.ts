import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failed } from '../core/failure.js';
import type { Health } from '../core/health.js';
import { keyOf } from '../core/names.js';
import type { Stamp } from '../core/plan.js';
import { everyone, parseSnapshot } from '../core/snapshot.js';
import { type DirHandle, openDir, writeSecret } from '../stores/atomic.js';

const isRoot = process.getuid?.() === 0;

/** Writes one status file: a person's (`uid`) is for that person alone, everybody's for root and `group`. */
export async function writeStatus(
  dir: string,
  group: number | undefined,
  name: string,
  text: string,
  uid: number | undefined,
): Promise<void> {
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  const folder = openDir(dir);
  try {
    if (folder.stat.uid !== BigInt(process.geteuid?.() ?? -1)) {
      throw new Failed({
        kind: 'config',
        what: `the status folder ${dir} belongs to another account`,
        hint: 'name one of its own with CREDMON_STATUS_DIR',
      });
    }
    await write(folder, group, name, text, uid);
  } finally {
    folder.close();
  }
}

function write(
  folder: DirHandle,
  group: number | undefined,
  name: string,
  text: string,
  uid: number | undefined,
): Promise<unknown> {
  return writeSecret(folder, name, text, {
    durable: false,
    mode: uid === undefined ? 0o640 : 0o400,
    ...(isRoot && uid !== undefined && { uid }),
    ...(isRoot && uid === undefined && group !== undefined && { gid: group }),
  });
}

/** Grants that were dead before this start, so that their issuers are not asked again. */
export function rememberDead(
  dir: string,
): (key: string, stamp: Stamp) => Pick<Health, 'since' | 'trouble'> | undefined {
  const known = new Map<string, Pick<Health, 'since' | 'trouble'>>();
  for (const health of readEveryone(dir)) {
    if (health.state !== 'login-needed') continue;
    const { since, trouble, stamp } = health;
    known.set(`${keyOf(health)}\n${stamp}`, { since, ...(trouble !== undefined && { trouble }) });
  }
  return (key, stamp) => {
    const dead = known.get(`${key}\n${stamp}`);
    known.delete(`${key}\n${stamp}`);
    return dead;
  };
}

function readEveryone(dir: string) {
  try {
    return parseSnapshot(readFileSync(join(dir, everyone), 'utf8'))?.credentials ?? [];
  } catch {
    return [];
  }
}
