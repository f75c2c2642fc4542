import type { Config } from '../../core/config.js';
import { Failed } from '../../core/failure.js';

/**
 * The provider that is meant where none is named: the default, the only one, or the only one that people log in to. Throws
 * Failed('usage') where that is none; `command`: in which to name one.
 */
export function meantBy(config: Config, command: string): string {
  const { preferred, providers } = config;
  const all = [...providers.values()].filter(({ flow }) => flow === 'device').map(({ name }) => name);
  const meant = preferred ?? (all.length === 1 ? all[0] : undefined);
  if (meant !== undefined) return meant;
  const names = all.length === 0 ? [...providers.keys()] : all;
  throw new Failed({
    kind: 'usage',
    what: `there are several providers, and none is the default: ${names.join(', ')}`,
    hint: `name the one that is meant: credmon ${command} ${names[0] ?? 'PROVIDER'}`,
  });
}
