import { readFileSync, realpathSync } from 'node:fs';
import { basename, delimiter, dirname, isAbsolute, join } from 'node:path';
import type { Env } from '../../stores/state.js';
import { folderAbove, lookAt } from './look.js';

export const daemon = 'credmond';
export const storer = 'credmon-storer';
export type OurProgram = typeof daemon | typeof storer;

/** A program that a knob names, as far as can be told without running it: another's might start a daemon. */
export interface Program {
  readonly path: string;
  /** Why it cannot be run. */
  readonly trouble?: 'not absolute' | 'absent' | 'hidden' | 'not a program';
  /** Which of ours it is, and of which version. */
  readonly ours?: OurProgram;
  readonly version?: string;
  readonly setuid?: boolean;
  /** What of it, or of the way to it, users may not read and enter. */
  readonly closed?: string;
  /** What of it, or of the way to it, others than root may replace. */
  readonly open?: string;
}

export function lookAtProgram(path: string): Program {
  if (!isAbsolute(path)) return { path, trouble: 'not absolute' };
  const stat = lookAt(path, true);
  if (typeof stat === 'string') return { path, trouble: stat };
  if (!stat.isFile() || (stat.mode & 0o111) === 0) return { path, trouble: 'not a program' };
  const real = realpathSync(path);
  const name = basename(real).replace(/\.js$/, '');
  const ours = name === daemon || name === storer ? name : undefined;
  const version = ours && versionOf(real);
  // Root runs it (or everybody's condor_submit does): whoever may replace it is root, or everybody.
  const loose = (of: { mode: number; uid: number }) =>
    of.uid !== 0 || (of.mode & 0o022 & (of.mode & 0o1000 ? 0 : 0o777)) !== 0;
  const open = loose(stat) ? real : folderAbove(real, loose);
  const closed = (stat.mode & 0o005) !== 0o005 ? real : folderAbove(real, ({ mode }) => (mode & 0o001) === 0);
  return {
    path,
    ...(ours !== undefined && { ours }),
    ...(version !== undefined && { version }),
    ...((stat.mode & 0o6000) !== 0 && { setuid: true }),
    ...(closed !== undefined && { closed }),
    ...(open !== undefined && { open }),
  };
}

/** Of the package that a program of ours belongs to. */
function versionOf(real: string): string | undefined {
  try {
    const text = readFileSync(join(dirname(dirname(real)), 'package.json'), 'utf8');
    const { name, version } = JSON.parse(text) as { name?: unknown; version?: unknown };
    return name === 'credmon' && typeof version === 'string' ? version : undefined;
  } catch {
    return undefined;
  }
}

const usual: Readonly<Record<OurProgram, string>> = {
  [daemon]: '/usr/sbin/credmond',
  [storer]: '/usr/bin/credmon-storer',
};

/**
 * Where a program of ours is that a knob may name: where packages put it, on PATH, or beside this one (`self`). Undefined:
 * it is not installed.
 */
export function findOurs(name: OurProgram, env: Env, self: string = process.argv[1] ?? ''): string | undefined {
  const folders = (env.PATH ?? '').split(delimiter).filter((folder) => isAbsolute(folder));
  const beside = isAbsolute(self) ? [join(dirname(self), name), join(dirname(realOf(self)), `${name}.js`)] : [];
  const places = [usual[name], ...['/usr/sbin', '/usr/bin', ...folders].map((folder) => join(folder, name)), ...beside];
  return places.find((path) => lookAtProgram(path).ours === name);
}

/** The same, or where packages put it. */
export const pathFor = (name: OurProgram, env: Env): string => findOurs(name, env) ?? usual[name];

function realOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
