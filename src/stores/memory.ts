import type { Kept, TokenStore } from '../core/ports.js';
import { named } from './named.js';

/** Nothing outlives the program: for a login whose token is printed and not kept. */
export function memoryStore(): TokenStore {
  const held = new Map<string, Kept>();
  return {
    place: { kind: 'file', path: 'this program’s memory', because: 'it is gone when the program ends' },
    async load(id) {
      return held.get(named(id));
    },
    async save(id, kept) {
      held.set(named(id), structuredClone(kept));
    },
    async remove(id) {
      return held.delete(named(id));
    },
    async list() {
      return [...held.keys()].sort();
    },
  };
}
