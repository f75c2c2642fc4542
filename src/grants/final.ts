import type { FinalGrant } from '../core/credential.js';
import { Failed } from '../core/failure.js';
import type { Fetcher } from '../core/ports.js';

/** There is nothing to refresh it with: HTCondor's web flow got an access token alone. */
export const final: Fetcher<FinalGrant> = async () => {
  throw new Failed({
    kind: 'login-needed',
    what: 'its access token has ended, and the login brought no refresh token',
  });
};
