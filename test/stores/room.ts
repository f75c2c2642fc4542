import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { programs } from '../helpers/programs.js';

/** An empty folder of our own, removed when the test is over. */
export function room(): string {
  const path = mkdtempSync(join(tmpdir(), 'credmon-stores-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A built file of ours, for what needs a process of its own. */
export const built = (path: string): string => join(programs, 'dist', path);

const nobody = 65534;

export const weAreRoot = process.getuid?.() === 0;

/** Runs `act` without root's powers, in folders that are first given away. */
export async function unprivileged<T>(folders: readonly string[], act: () => Promise<T>): Promise<T> {
  if (!weAreRoot) return act();
  for (const folder of folders) chownSync(folder, nobody, nobody);
  process.setegid?.(nobody);
  process.seteuid?.(nobody);
  try {
    return await act();
  } finally {
    process.seteuid?.(0);
    process.setegid?.(0);
  }
}

/** Makes a folder read-only until the test is over. */
export function readOnly(path: string): void {
  chmodSync(path, 0o500);
  onTestFinished(() => chmodSync(path, 0o700));
}

export async function withUmask<T>(mask: number, act: () => Promise<T>): Promise<T> {
  const before = process.umask(mask);
  try {
    return await act();
  } finally {
    process.umask(before);
  }
}
