import type { TokenStore } from '../core/ports.js';
import { memoryStore } from './memory.js';
import { openPersonalStore } from './personal.js';
import type { Env } from './state.js';

/** Where a person's own credentials may be kept: what `--store` takes. */
export const stores = {
  /** The keyring if one answers, else a file. */
  auto: (env) => openPersonalStore({ env, choice: 'auto' }),
  keyring: (env) => openPersonalStore({ env, choice: 'keyring' }),
  file: (env) => openPersonalStore({ env, choice: 'file' }),
  memory: async () => memoryStore(),
} as const satisfies Record<string, (env: Env) => Promise<TokenStore>>;
