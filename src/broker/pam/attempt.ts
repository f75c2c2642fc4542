import { randomBytes } from 'node:crypto';
import type { TokenSet } from '../../core/credential.js';
import { Failed, type Failure } from '../../core/failure.js';
import type { Ask, LoginState } from '../../core/login.js';
import type { Clock, DeviceCode, Issuer } from '../../core/ports.js';
import { issuerOf, type Provider } from '../../core/provider.js';
import { login } from '../../login/flow.js';
import type { DeviceGrant } from '../desk.js';
import { within } from '../within.js';
import type { Decoys } from './decoys.js';
import { Harvest } from './harvest.js';

/** For all requests that bring a code, and for all that tell who approved: milliseconds. sshd and a person wait. */
const requestMs = 18_000;

export interface AttemptParts {
  readonly provider: Provider;
  readonly issuer: Issuer;
  readonly device: DeviceGrant;
  readonly decoys: Decoys;
  readonly clock: Clock;
  /** When sshd asked: steady milliseconds. */
  readonly begun: number;
}

interface Attempt {
  readonly states: AsyncIterable<LoginState>;
  /** What the approval brought, once `states` have ended well. */
  take(): Harvest | undefined;
}

/** A login by the device flow, up to knowing who approved it. */
export function attempt(parts: AttemptParts, stop: AbortSignal): Attempt {
  const { provider, issuer, device, decoys, clock, begun } = parts;
  const ask = askOf(provider);
  const late = tooSlow(provider);
  const nonce = randomBytes(16).toString('hex');
  let harvest: Harvest | undefined;

  const states = login({
    ask,
    clock,
    stop,
    refreshless: true,
    code: () =>
      decoys.observe(begun, stop, () =>
        within(clock, requestMs, stop, late, async (signal) => {
          const scopes = device.loginScopes(ask.scopes, await issuer.scopes(signal));
          const { audience } = ask;
          return device.requestCode(issuer, { scopes, ...(audience !== undefined && { audience }) }, signal, nonce);
        }),
      ),
    async poll(code: DeviceCode) {
      try {
        return await within(clock, requestMs, stop, late, (signal) => device.pollOnce(issuer, code, signal));
      } catch (thrown) {
        if (thrown instanceof Failed && thrown.failure === late) return { kind: 'unreachable', failure: late };
        throw thrown;
      }
    },
    async *keep(token: TokenSet) {
      const identity = await within(clock, requestMs, stop, late, (signal) =>
        issuer.identity(token, { stop: signal, nonce }),
      );
      harvest = new Harvest({ provider, identity }, token);
    },
    again: async () => false,
  });
  return { states, take: () => harvest };
}

/** The same for those who cannot log in at all: as long, as slow, with a code that nobody knows. */
export function decoy(
  { provider, decoys, clock, begun }: Pick<AttemptParts, 'provider' | 'decoys' | 'clock' | 'begun'>,
  stop: AbortSignal,
): Attempt {
  const states = login({
    ask: askOf(provider),
    clock,
    stop,
    code: () => decoys.code(begun, stop),
    poll: async () => ({ kind: 'pending' }),
    keep: () => {
      throw new Error('a decoy was approved');
    },
    again: async () => false,
  });
  return { states, take: () => undefined };
}

function askOf({ name, scopes, audience, ...rest }: Provider): Ask {
  return {
    provider: name,
    issuer: issuerOf({ name, scopes, ...rest }),
    scopes,
    ...(audience !== undefined && { audience }),
  };
}

const tooSlow = (provider: Provider): Failure => ({
  kind: 'transient',
  what: `${issuerOf(provider)} did not answer within ${requestMs / 1000} s`,
  hint: 'try again later',
});
