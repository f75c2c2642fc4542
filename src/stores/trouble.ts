import { systemCode } from '../core/errno.js';
import { Failed } from '../core/failure.js';
import { plain } from '../core/text.js';

/** The system's error code (ENOENT, …) of something thrown, or of its cause; undefined when it is none of the system's. */
export function errnoOf(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error)) return undefined;
  const code = systemCode(thrown);
  if (code !== undefined) return code;
  return thrown.cause === undefined ? undefined : errnoOf(thrown.cause);
}

/** What the commoner codes mean, and what to do about them. */
const meanings: Readonly<Record<string, readonly [what: string, hint: string]>> = {
  ENOSPC: ['no space is left on the device', 'make room there, then try again; what was stored before is whole'],
  EDQUOT: ['the disk quota is used up', 'remove files there, then try again; what was stored before is whole'],
  EFBIG: [
    'the file would be larger than allowed',
    'look at `ulimit -f`, then try again; what was stored before is whole',
  ],
  EIO: [
    'the device reports an input/output error',
    'look at the disk and the kernel log; what was stored before is left as it was',
  ],
  EUCLEAN: [
    'the file system is damaged',
    'look at the kernel log, and check it (fsck); what was stored before is left as it was',
  ],
  EROFS: ['the file system is read-only', 'mount it writable, or name another folder'],
  EACCES: ['permission denied', 'look at the owner and mode of that folder and of those above it'],
  EPERM: ['it is not permitted', 'look at the owner and mode of that folder, and whether it is immutable (lsattr)'],
  ENOENT: ['it does not exist', 'create the folder, or name another one'],
  ENOTDIR: [
    'it is not a folder',
    'remove what is in its place, or name another folder; a symbolic link is not followed',
  ],
  ELOOP: ['it is a symbolic link', 'a symbolic link is not followed: put the real file or folder in its place'],
  EISDIR: ['a folder is in its place', 'remove that folder'],
  ENAMETOOLONG: ['its name is too long', 'choose a shorter handle'],
  EMFILE: ['too many files are open', 'raise the limit of open files (ulimit -n, LimitNOFILE=)'],
  ENFILE: ['too many files are open on this machine', 'raise fs.file-max'],
  ESTALE: ['the file server no longer knows it', 'look at the NFS mount'],
};

/** `cannot write /path: no space is left on the device`, with what to do. What is not the system's error is a bug: it is returned as it is. */
export function storageFailed(verb: string, path: string, thrown: unknown): unknown {
  if (thrown instanceof Failed) return thrown;
  const code = errnoOf(thrown);
  if (code === undefined) return thrown;
  const [what, hint] = meanings[code] ?? [`the system says ${code}`, 'look at that file and its folder'];
  return new Failed({ kind: 'storage', what: `cannot ${verb} ${plain(path, 4096)}: ${what}`, hint }, { cause: thrown });
}
