import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { inPackage } from '../../system/package.js';
import { lookAt } from '../doctor/look.js';

export interface Module {
  readonly path: string;
  /** Whether it is the one that was built of this package's sources; undefined: none has been built there. */
  readonly ours?: boolean;
  /** Who may replace it besides root. */
  readonly open: boolean;
}

const name = 'pam_credmon.so';

/** What installs it. */
export const build = (): string => `make -C ${inPackage('pam')} install`;

/** Where PAM looks for modules that are named without a folder: by distribution, and by architecture. */
export function findModule(root: string): Module | undefined {
  for (const folder of folders(root)) {
    const path = `${folder}/security/${name}`;
    const stat = lookAt(root + path, true);
    if (typeof stat === 'string' || !stat.isFile()) continue;
    const [built, there] = [hash(inPackage(`pam/build/${name}`)), hash(root + path)];
    const ours = built === undefined || there === undefined ? undefined : built === there;
    return { path, ...(ours !== undefined && { ours }), open: stat.uid !== 0 || (stat.mode & 0o022) !== 0 };
  }
  return undefined;
}

function folders(root: string): readonly string[] {
  const many = ['/usr/lib', '/lib'].flatMap((lib) => {
    try {
      const names = readdirSync(root + lib).filter((one) => /-linux-/.test(one));
      return names.map((one) => `${lib}/${one}`);
    } catch {
      return [];
    }
  });
  return [...many, '/usr/lib64', '/lib64', '/usr/lib', '/lib'];
}

function hash(path: string): string | undefined {
  try {
    return createHash('sha256').update(readFileSync(path)).digest('hex');
  } catch {
    return undefined;
  }
}
