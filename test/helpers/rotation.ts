import type { Rotation } from '../../src/core/ports.js';

/** What becomes of a refresh token, for tests that only want to see the new one. */
export const keeping = (keep: Rotation['keep'] = async () => {}): Rotation => ({
  sending: () => {},
  keep,
  unchanged: () => {},
});
