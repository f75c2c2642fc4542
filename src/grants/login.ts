import type { Grant, TokenSet } from '../core/credential.js';
import { Failed, failureOf } from '../core/failure.js';
import { keyOf } from '../core/names.js';
import type { Errand, Fetcher } from '../core/ports.js';
import { pelicanAgain } from './again.js';
import { narrowed } from './narrow.js';
import { refresh } from './refresh.js';

/** A scope that opens something: of SciTokens, the WLCG profile or HTCondor. Others tell who somebody is. */
const opens = /^(?:storage\.\w+|read|write)(?::|$)|^compute\.|^condor:/;

/**
 * A login's own token. Its scopes may be less than the login was approved for, when that was for several credentials at
 * once. Where the issuer gives nothing less, jobs get what the login has: that is what the person has approved.
 */
export const login: Fetcher<Grant> = async (grant, errand) => {
  try {
    return await ownToken(grant, errand);
  } catch (thrown) {
    const failure = failureOf(thrown);
    // Nobody logs in to these by `credmon login`.
    if (failure?.kind !== 'login-needed' || errand.provider.flow !== 'pelican') throw thrown;
    throw new Failed({ ...failure, hint: pelicanAgain(errand) }, { cause: thrown });
  }
};

async function ownToken(grant: Grant, errand: Errand): Promise<TokenSet> {
  const { rotation, stop } = errand;
  const issuer = await errand.issuer();
  if (!grant.scopes?.length) return refresh(issuer, grant, rotation, stop);
  let { refreshToken } = grant;
  const result = await narrowed(
    {
      key: keyOf(errand.id),
      clock: errand.clock,
      issuer,
      refreshToken: () => refreshToken,
      rotation: {
        ...rotation,
        keep: async (next) => {
          await rotation.keep(next);
          refreshToken = next;
        },
      },
      stop,
      claims: errand.claims,
    },
    {
      scopes: grant.scopes,
      audience: grant.audience,
      elsewhere: false,
      matters: (scope) => opens.test(scope),
      wholeWillDo: true,
    },
  );
  if (result.token !== undefined) return result.token;
  errand.warn(`jobs get all that the login has: ${result.why}`);
  return result.whole;
}
