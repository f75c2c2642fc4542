import { fail } from '../../core/failure.js';
import { type Effective, effectiveBy, type Files, flatten } from '../../core/sshd-config.js';
import type { Installation } from './apply.js';
import { filesOf, type Places } from './places.js';
import type { Sshd } from './sshd.js';

export interface Seen {
  readonly files: Files;
  readonly everybody: Effective;
  readonly root: Effective;
}

/** The machine as it was before credmon. Throws Failed('config') where sshd itself finds a fault in it. */
export async function survey(
  places: Places,
  { manifest, before }: Installation,
  sshd: Sshd | undefined,
): Promise<Seen> {
  const real = filesOf(places);
  const files: Files = {
    read: (path) => (before.has(path) ? before.get(path)?.text : real.read(path)),
    list: (folder) =>
      real.list(folder).filter((name) => {
        const path = `${folder}/${name}`;
        return !before.has(path) || before.get(path) !== undefined;
      }),
  };
  if (manifest !== undefined) {
    const map = (of: Readonly<Record<string, readonly string[]>>) => new Map(Object.entries(of));
    return { files, everybody: map(manifest.seen.everybody), root: map(manifest.seen.root) };
  }
  const own = effectiveBy(flatten(places.sshdConfig, files));
  if (sshd === undefined || own.size === 0 || files.read(places.sshdConfig) === undefined)
    return { files, everybody: own, root: own };
  const trouble = await sshd.test();
  if (trouble !== undefined)
    fail(
      'config',
      `sshd -t finds a fault in what is there already: ${trouble}`,
      'mend that first; nothing was changed',
    );
  const ask = async (user: string): Promise<Effective> => {
    const told = await sshd.effective(user);
    if ('trouble' in told)
      return fail('config', `sshd -T does not say what counts: ${told.trouble}`, 'nothing was changed');
    return told;
  };
  return { files, everybody: await ask('nobody'), root: await ask('root') };
}
