import { userInfo } from 'node:os';
import { loadConfig, requireProviders, unknownProvider } from '../../config/load.js';
import { readSecret } from '../../config/secret.js';
import { bearerOf, type Config } from '../../core/config.js';
import { Failed, failureOf } from '../../core/failure.js';
import type { CredentialId } from '../../core/names.js';
import type { Kept, TokenStore } from '../../core/ports.js';
import { findProvider } from '../../core/provider.js';
import { seconds } from '../../core/time.js';
import { errandOf } from '../../daemon/errand.js';
import { openGroups } from '../../daemon/groups.js';
import { Once } from '../../daemon/once.js';
import { refreshOnce } from '../../daemon/refresh.js';
import { fetchToken } from '../../grants/index.js';
import { jwtClaims } from '../../providers/jwt.js';
import { openAny } from '../../providers/pelican.js';
import { removeBearer, writeBearer } from '../../stores/bearer.js';
import { ownCredentials } from '../../stores/own.js';
import { openPersonalStore } from '../../stores/personal.js';
import { stateDir } from '../../stores/state.js';
import { systemClock as clock } from '../../system/clock.js';
import { lockFolder } from '../../system/lock.js';

/** How long a refresh may take, and how long a credmond --user is waited for that has it in hand: milliseconds. */
const patience = 25_000;

/** A new access token for a credential of the person's own store. Throws Failed: there is none, or it cannot be had. */
export async function freshToken(id: string | undefined, file: string | undefined): Promise<string> {
  const store = await openPersonalStore({ env: process.env, choice: 'stay' });
  const kept = id === undefined ? undefined : await store.load(id);
  const config = await loadConfig({ env: process.env, ...(file !== undefined && { file }) });
  if (id === undefined || kept === undefined) throw nothing(config, id);
  const stop = AbortSignal.timeout(patience);
  // Only one refreshes: of two with the same refresh token, the second would have the issuer revoke it.
  const release = await lockFolder(stateDir(process.env));
  if (release === undefined) return await ofOther(store, id, kept, stop);
  try {
    return await refreshed(config, store, kept, stop);
  } finally {
    release();
  }
}

async function refreshed(config: Config, store: TokenStore, kept: Kept, stop: AbortSignal): Promise<string> {
  requireProviders(config, process.env);
  const provider = findProvider(config.providers, kept.provider) ?? unknownProvider(config, kept.provider);
  const user = userInfo().username;
  const id: CredentialId = { user, service: kept.provider, ...(kept.handle !== undefined && { handle: kept.handle }) };
  const bearer = { env: process.env, ...bearerOf(config, id) };
  // Whoever asked for a token gets it, also where there is no place for the file.
  const orNot = (thrown: unknown) => failureOf(thrown) ?? Promise.reject(thrown);
  const credentials = ownCredentials(store, user, {
    give: async ({ token }) => void (token && (await writeBearer(token.accessToken, bearer).catch(orNot))),
    takeBack: async () => void (await removeBearer(bearer).catch(orNot)),
  });
  const secret = provider.secretFile === undefined ? undefined : await readSecret(provider.secretFile);
  const issuer = openAny(provider, secret, clock);
  const outside = {
    provider,
    clock,
    minimum: config.minimum,
    issuer: async () => issuer,
    http: issuer.http,
    claims: jwtClaims,
    groups: openGroups(),
    warnings: new Once((text) => void process.stderr.write(`credmon: warning: ${text}\n`)),
  };
  try {
    const outcome = await refreshOnce(id, {
      credentials,
      fetch: (grant, errand) => fetchToken(grant, errandOf(outside, errand)),
      stop,
      held: new Map(),
    });
    if (outcome.kind === 'refreshed') return outcome.token.accessToken;
    if (outcome.kind !== 'failed')
      throw new Failed({
        kind: 'transient',
        what: 'the login was replaced or removed just now',
        hint: 'run the command again',
      });
    if (outcome.failure.kind !== 'login-needed') throw new Failed(outcome.failure);
    const handle = kept.handle === undefined ? '' : ` --handle ${kept.handle}`;
    throw new Failed({ ...outcome.failure, hint: `run: credmon login ${kept.provider}${handle}` });
  } finally {
    await issuer.close();
  }
}

/** Waits for the credmond --user that is at work to refresh it. */
async function ofOther(store: TokenStore, id: string, kept: Kept, stop: AbortSignal): Promise<string> {
  const failed = new Failed({
    kind: 'transient',
    what: 'credmond --user keeps this token, but has not refreshed it',
    hint: 'see: credmon status',
  });
  while (!stop.aborted) {
    const token = (await store.load(id))?.token;
    if (token && token.accessToken !== kept.token?.accessToken) return token.accessToken;
    await clock.sleep(seconds(0.2), stop).catch(() => {});
  }
  throw failed;
}

/** There is no token of the person's own: why, and what to do. */
function nothing(config: Config, id: string | undefined): Failed {
  const name = id ?? config.preferred ?? [...config.providers.keys()][0];
  if (config.credDir !== undefined) {
    return new Failed({
      kind: 'unsupported',
      what: 'on an access point tokens are not handed to people: HTCondor hands them to jobs',
      hint: `put "use_oauth_services = ${name ?? '<provider>'}" into the submit file; the job finds the token in $_CONDOR_CREDS/${name ?? '<provider>'}.use`,
    });
  }
  if (id !== undefined && config.providers.size > 0 && !findProvider(config.providers, id)) unknownProvider(config, id);
  return new Failed({
    kind: 'login-needed',
    what: `you are not logged in${id === undefined ? '' : ` to ${id}`}`,
    hint: `run: credmon login${name === undefined ? '' : ` ${name}`}`,
  });
}
