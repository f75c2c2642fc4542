import { systemCode } from '../core/errno.js';
import { Failed } from '../core/failure.js';
import { plain } from '../core/text.js';

/** The system's error code of something thrown: ENOENT, …; its class where it has none. */
export function codeOf(thrown: unknown): string {
  const system = systemCode(Object(thrown));
  if (system !== undefined) return system;
  const code = (thrown as NodeJS.ErrnoException | undefined)?.code;
  return typeof code === 'string' ? code : thrown instanceof Error ? thrown.name : 'unknown';
}

/** What the system refused, as a Failed('storage'); what is a Failed already stays as it is, and so does a bug. */
export function storageFailed(verb: string, path: string, thrown: unknown): unknown {
  if (thrown instanceof Failed || !/^E[A-Z0-9]+$/.test(codeOf(thrown))) return thrown;
  const code = codeOf(thrown);
  const hint =
    code === 'ENOSPC' || code === 'EDQUOT'
      ? 'make room on that file system, then try again'
      : 'look at the owner and mode of that folder and of those above it';
  return new Failed({ kind: 'storage', what: `cannot ${verb} ${plain(path, 300)} (${code})`, hint }, { cause: thrown });
}
