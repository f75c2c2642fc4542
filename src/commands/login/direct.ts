import { readSecret } from '../../config/secret.js';
import type { TokenSet } from '../../core/credential.js';
import { Failed } from '../../core/failure.js';
import type { LoginState } from '../../core/login.js';
import type { DeviceCode, Issuer } from '../../core/ports.js';
import { loginScopes, pollOnce, requestCode } from '../../grants/device.js';
import { login } from '../../login/flow.js';
import { askOf, type LoginContext } from './context.js';
import { whole } from './whole.js';

/** The device flow in this very process: without a broker. `keep` puts the grant where it belongs. */
export function directLogin(
  context: LoginContext,
  keep: (token: TokenSet) => AsyncIterable<LoginState>,
): AsyncIterable<LoginState> {
  return whole(context, flow(context, keep));
}

async function* flow(
  context: LoginContext,
  keep: (token: TokenSet) => AsyncIterable<LoginState>,
): AsyncGenerator<LoginState, void, undefined> {
  const { provider, clock, stop } = context;
  const ask = askOf(context);
  let issuer: (Issuer & { close(): Promise<void> }) | undefined;
  const code = async (): Promise<DeviceCode> => {
    const secret = provider.secretFile === undefined ? undefined : await secretOf(provider.secretFile);
    // Loaded when the first frame is on the screen: openid-client and undici take as long as all the rest.
    issuer ??= (await import('../../providers/issuer.js')).openIssuer(provider, secret, clock);
    const scopes = loginScopes(ask.scopes, await issuer.scopes(stop));
    return requestCode(issuer, { scopes, ...(ask.audience !== undefined && { audience: ask.audience }) }, stop);
  };
  try {
    yield* login({
      ask,
      clock,
      stop,
      code,
      poll: (given) => pollOnce(issuer as Issuer, given, stop),
      keep,
      again: () => context.again(),
    });
  } finally {
    await issuer?.close();
  }
}

async function secretOf(file: string): Promise<string> {
  try {
    return await readSecret(file);
  } catch (thrown) {
    if (!(thrown instanceof Failed) || !thrown.message.includes('EACCES')) throw thrown;
    throw new Failed({
      kind: 'unsupported',
      what: 'this provider’s client secret is not for users to read, and no login broker answers on this machine',
      hint: 'tell whoever runs this machine to look whether credmond runs (condor_who -daemons) and into its log',
    });
  }
}
