import { brokerLogout } from '../../broker/client.js';
import { loadConfig, requireProviders, unknownProvider } from '../../config/load.js';
import { readSecret } from '../../config/secret.js';
import { bearerOf, type Config } from '../../core/config.js';
import { Failed, failureOf } from '../../core/failure.js';
import { type CredentialId, stem } from '../../core/names.js';
import type { Kept } from '../../core/ports.js';
import { anyService, findProvider, issuerOf, type Provider } from '../../core/provider.js';
import { seconds } from '../../core/time.js';
import { openIssuer } from '../../providers/issuer.js';
import { readMine, until } from '../../status/read.js';
import { removeBearer } from '../../stores/bearer.js';
import { creddStore } from '../../stores/credd.js';
import { openPersonalStore } from '../../stores/personal.js';
import { systemClock as clock } from '../../system/clock.js';
import { brokerThere } from '../login/choose.js';
import { meantBy } from '../login/meant.js';
import { checkNames } from '../names.js';

export interface LogoutOptions {
  readonly provider?: string;
  readonly handle?: string;
  readonly config?: string;
}

/** How long credmond has to do it: seconds. And an issuer to revoke: milliseconds. */
const patience = seconds(30);
const revokeLimit = 15_000;

/** Revokes at the issuer (RFC 7009) and removes here, and says of both whether it was done. Resolves to the exit code. */
export async function runLogout(options: LogoutOptions): Promise<number> {
  const { env } = process;
  checkNames(options.provider, options.handle);
  const config = requireProviders(
    await loadConfig({ env, ...(options.config !== undefined && { file: options.config }) }),
    env,
  );
  const provider = named(config, options.provider);
  const service = provider.name === anyService ? (options.provider ?? '') : provider.name;
  const id = { service, ...(options.handle !== undefined && { handle: options.handle }) };
  const made = madeFrom(config, id);
  const own = await openPersonalStore({ env, choice: 'stay' }).catch(() => undefined);
  const kept = await own?.load(stem(id));
  const said =
    own && kept
      ? await logoutOwn(config, provider, kept, () => own.remove(stem(id)))
      : config.credDir !== undefined
        ? await logoutCondor(config, provider, id)
        : undefined;
  if (said === undefined) {
    throw new Failed({
      kind: 'login-needed',
      what: `you are not logged in to ${stem(id)}`,
      hint: 'there is nothing to log out from; see: credmon status',
    });
  }
  const rest = made.length === 0 ? '' : `; made from it, and without new tokens from now on: ${made.join(', ')}`;
  process.stdout.write(`${stem(id)}: ${said}${rest}\n`);
  return 0;
}

/** The credentials that credmond makes of this one. */
function madeFrom({ statusDir, credDir }: Config, { service, handle = '' }: Id): readonly string[] {
  if (credDir === undefined) return [];
  const mine = readMine(statusDir, process.getuid?.() ?? -1)?.credentials ?? [];
  return mine.filter((one) => one.service === service && one.origin === handle).map(stem);
}

type Id = Pick<CredentialId, 'service' | 'handle'>;

async function logoutOwn(
  config: Config,
  provider: Provider,
  kept: Kept,
  remove: () => Promise<boolean>,
): Promise<string> {
  const revoked = await revoke(provider, kept.grant.refreshToken);
  await remove();
  const id = { service: kept.provider, ...(kept.handle !== undefined && { handle: kept.handle }) };
  await removeBearer({ env: process.env, ...bearerOf(config, id) });
  return `removed here; ${revoked}`;
}

async function revoke(provider: Provider, refreshToken: string): Promise<string> {
  const stop = AbortSignal.timeout(revokeLimit);
  let issuer: ReturnType<typeof openIssuer> | undefined;
  try {
    const secret = provider.secretFile === undefined ? undefined : await readSecret(provider.secretFile);
    issuer = openIssuer(provider, secret, clock);
    const done = await issuer.revoke(refreshToken, stop);
    return done ? `revoked at ${issuerOf(provider)}` : `${issuerOf(provider)} offers no revocation`;
  } catch (thrown) {
    // Removing it here is worth doing all the same, but that the issuer still honours it must be said.
    const failure = failureOf(thrown);
    if (failure === undefined && !stop.aborted) throw thrown;
    return `not revoked at ${issuerOf(provider)}: ${failure?.what ?? 'it did not answer in time'}`;
  } finally {
    await issuer?.close();
  }
}

async function logoutCondor(config: Config, provider: Provider, { service, handle }: Id): Promise<string | undefined> {
  const stop = AbortSignal.timeout(patience * 1000 * 2);
  // The broker knows those that people can log in to.
  if (provider.flow === 'device' && (provider.secretFile !== undefined || (await brokerThere(config)))) {
    const request = { provider: service, ...(handle !== undefined && { handle }) };
    const id = await brokerLogout({ ...config.broker, request, stop, clock });
    const mine = () =>
      readMine(config.statusDir, process.getuid?.() ?? -1)?.settled?.find((settled) => settled.id === id);
    const settled = await until(mine, { clock, limit: patience, stop });
    if (settled === undefined) return 'asked for; credmond has not done it yet, but will when it runs again';
    if (!settled.ok)
      throw new Failed({
        kind: 'refused',
        what: `credmond did not log you out: ${settled.what}`,
        hint: 'tell whoever runs this machine',
      });
    return settled.what;
  }
  const there = await creddStore({ env: process.env }).remove(
    { service, ...(handle !== undefined && { handle }) },
    stop,
  );
  if (!there) return undefined;
  if (provider.flow !== 'device') return 'removed from HTCondor';
  return `removed from HTCondor; not revoked at ${issuerOf(provider)}, since no broker runs here: do that on the issuer's own page`;
}

function named(config: Config, name: string | undefined): Provider {
  const wanted = name ?? meantBy(config, 'logout');
  return findProvider(config.providers, wanted) ?? unknownProvider(config, wanted);
}
