import { expect, test } from 'vitest';
import { memoryStore } from '../../src/stores/memory.js';
import { kept, tokenStoreContract } from '../contracts/token-store.js';

tokenStoreContract('memoryStore', memoryStore);

test('what is in memory does not change with what was given', async () => {
  const store = memoryStore();
  const given = { ...kept(), who: 'one' };
  await store.save('a', given);
  given.who = 'two';
  expect((await store.load('a'))?.who).toBe('one');
});
