import { epochMs } from '../../src/core/time.js';
import { credentialsContract } from '../contracts/credentials.js';
import { memoryDirectory } from './memory.js';

credentialsContract('those in memory, which the model runs over,', async () => {
  const directory = memoryDirectory({ services: () => ['cilogon', 'igwn'], now: () => epochMs(Date.now()) });
  return {
    credentials: directory.credentials,
    user: 'alice',
    login: async (id, refreshToken) => directory.store(id, { refreshToken }),
    logout: async (id) => directory.logout(id),
  };
});
