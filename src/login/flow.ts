import type { TokenSet } from '../core/credential.js';
import { Failed, type Failure } from '../core/failure.js';
import type { Ask, LoginState } from '../core/login.js';
import { afterPoll, firstPace, type Pace, paceMs, type Reply } from '../core/poll.js';
import type { Clock, DeviceCode } from '../core/ports.js';
import { seconds } from '../core/time.js';

/** What a login needs from outside. Every part stops at once when `stop` is aborted, by throwing its reason. */
export interface LoginParts {
  readonly ask: Ask;
  readonly clock: Clock;
  readonly stop: AbortSignal;
  /** A new code pair. Throws Failed. */
  code(): Promise<DeviceCode>;
  /** One poll. */
  poll(code: DeviceCode): Promise<Reply>;
  /** Puts the grant where it belongs; yields storing, perhaps waiting, then done. Throws Failed. */
  keep(token: TokenSet): AsyncIterable<LoginState>;
  /** The code ran out: go on with a new one? */
  again(): Promise<boolean>;
  /** Who the person is matters more than what can be kept: an approval without a refresh token will do. */
  readonly refreshless?: boolean;
}

/**
 * A login by the device flow (RFC 8628), as the states that a face draws. It always ends with done or failed; an abort of
 * `stop` ends it with failed, and the failure that is the abort's reason if that is a Failed, else cancelled.
 */
export async function* login(parts: LoginParts): AsyncGenerator<LoginState, void, undefined> {
  const { ask } = parts;
  try {
    yield { at: 'starting', ask };
    for (;;) {
      const token = yield* approval(parts, await parts.code());
      if (token) return yield* parts.keep(parts.refreshless ? token : requireRefreshToken(token, ask));
      yield { at: 'expired', ask };
      if (!(await parts.again())) {
        throw new Failed({
          kind: 'expired',
          what: `nobody approved the login to ${ask.provider} before its code ran out`,
          hint: 'run the command again for a new code',
        });
      }
    }
  } catch (thrown) {
    yield { at: 'failed', ask, failure: ending(thrown, parts.stop) };
  }
}

/** Polls until the person has approved; undefined when the code ran out. */
async function* approval(
  { ask, clock, stop, poll }: LoginParts,
  code: DeviceCode,
): AsyncGenerator<LoginState, TokenSet | undefined, undefined> {
  const shown = {
    at: 'code',
    ask,
    code: code.userCode,
    link: code.link,
    ...(code.linkComplete !== undefined && { linkComplete: code.linkComplete }),
    expires: code.expires,
  } as const;
  yield shown;
  let pace: Pace = firstPace(code.interval);
  let trouble: string | undefined;
  for (;;) {
    const left = code.expires - clock.now();
    if (left <= 0) return undefined;
    await clock.sleep(seconds(Math.min(left, paceMs(pace)) / 1000), stop);
    if (clock.now() >= code.expires) return undefined;
    const step = afterPoll(pace, await poll(code));
    if (step.kind === 'done') return step.token;
    if (step.kind === 'stop') {
      if (step.failure.kind === 'expired') return undefined;
      throw new Failed(step.failure);
    }
    pace = step.pace;
    if (step.trouble?.what !== trouble) {
      trouble = step.trouble?.what;
      yield trouble === undefined ? shown : { ...shown, trouble };
    }
  }
}

function requireRefreshToken(token: TokenSet, ask: Ask): TokenSet {
  if (token.refreshToken !== undefined) return token;
  throw new Failed({
    kind: 'refused',
    what: `${ask.issuer} gave an access token but no refresh token, so it could not be kept fresh`,
    hint: 'the client must be allowed refresh tokens there, and may need the scope offline_access: ask whoever registered it',
  });
}

function ending(thrown: unknown, stop: AbortSignal): Failure {
  const cause = stop.aborted ? stop.reason : thrown;
  if (cause instanceof Failed) return cause.failure;
  if (stop.aborted) return { kind: 'cancelled', what: 'the login was given up' };
  throw thrown;
}
