import { ClientError, ResponseBodyError, WWWAuthenticateChallengeError } from 'openid-client';
import { Failed, type Failure, type FailureKind, Unsent } from '../core/failure.js';
import { plain } from '../core/text.js';
import { type Seconds, seconds } from '../core/time.js';
import { Reply } from './reply.js';

/** Where a request went, for messages: never with a query. */
const originOf = (url: string): string => {
  try {
    return new URL(url).origin;
  } catch {
    return 'the issuer';
  }
};

const network: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'the connection was refused',
  ECONNRESET: 'the connection was reset',
  UND_ERR_SOCKET: 'the connection broke off',
  EPIPE: 'the connection broke off',
  ENOTFOUND: 'its name does not resolve',
  EAI_AGAIN: 'its name does not resolve just now',
  EHOSTUNREACH: 'there is no route to it',
  ENETUNREACH: 'there is no network',
  ETIMEDOUT: 'it did not answer in time',
  UND_ERR_CONNECT_TIMEOUT: 'it did not answer in time',
  UND_ERR_HEADERS_TIMEOUT: 'it did not answer in time',
  UND_ERR_BODY_TIMEOUT: 'it did not answer in time',
};

/** Nothing was said yet when these happened. */
const unconnected = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

const certificate = /^(?:CERT_|ERR_TLS_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED|HOSTNAME_MISMATCH)/;
const tls = /^(?:ERR_SSL_|EPROTO$)/;

/** What a failed exchange was, by the code that Node's or undici's error carries. */
export function networkFailed(url: string, cause: unknown): Failed {
  const code = codeOf(cause);
  const failure = networkFailure(url, cause, code);
  const unsent = certificate.test(code) || unconnected.has(code);
  return unsent ? new Unsent(failure, { cause }) : new Failed(failure, { cause });
}

function networkFailure(url: string, cause: unknown, code: string): Failure {
  const origin = originOf(url);
  if (code === 'UND_ERR_RES_EXCEEDED_MAX_SIZE') {
    return { kind: 'protocol', what: `${origin} sent an answer too large to be true`, hint: 'check the issuer’s URL' };
  }
  if (certificate.test(code)) {
    return {
      kind: 'protocol',
      what: `the certificate of ${origin} cannot be trusted (${code})`,
      hint: 'name the authority with <provider>_CA_FILE if it is one of your own, or ask whoever runs the issuer',
    };
  }
  if (tls.test(code)) {
    return {
      kind: 'protocol',
      what: `${origin} does not speak TLS as it should (${code})`,
      hint: 'check the issuer’s URL',
    };
  }
  const timeout = (cause as Error | undefined)?.name === 'TimeoutError';
  const words = timeout
    ? 'it did not answer in time'
    : (network[code] ?? `the exchange failed (${code || 'no reason given'})`);
  return {
    kind: 'transient',
    what: `cannot reach ${origin}: ${words}`,
    hint: 'check the network and the issuer’s URL; then try again',
  };
}

/** Node hides the code in `cause`, or in the errors of an AggregateError. */
function codeOf(thrown: unknown): string {
  const error = thrown as { code?: unknown; cause?: unknown; errors?: readonly unknown[] } | undefined;
  if (typeof error?.code === 'string') return error.code;
  const inner = error?.cause ?? error?.errors?.[0];
  return inner === undefined ? '' : codeOf(inner);
}

/** RFC 6749 §5.2, RFC 8628 §3.5, RFC 8693 §2.2.2. What is not here is `refused`. */
const oauth: Readonly<Record<string, FailureKind>> = {
  invalid_grant: 'login-needed',
  access_denied: 'denied',
  expired_token: 'expired',
  authorization_pending: 'transient',
  slow_down: 'transient',
  temporarily_unavailable: 'transient',
  server_error: 'transient',
};

const hints: Readonly<Record<string, string>> = {
  invalid_client: 'check <provider>_CLIENT_ID and the secret in <provider>_CLIENT_SECRET_FILE',
  unauthorized_client: 'the client must be registered there for the device flow and for refresh tokens',
  unsupported_grant_type: 'this issuer does not offer what is needed',
  invalid_scope: 'ask for other scopes with --scope, or have the client registered for these',
  invalid_target: 'ask for another audience',
};

/** For the codes that have none of their own. Where a login helps, whoever knows its command adds it. */
const otherwise: Partial<Readonly<Record<FailureKind, string>>> = {
  transient: 'try again later; ask whoever runs it if it lasts',
  refused: 'ask whoever runs it',
};

/** The same failure, its hint with the name of the provider whose knobs it speaks of. */
export function named(failed: Failed, provider: string): Failed {
  const { hint } = failed.failure;
  if (!hint?.includes('<provider>')) return failed;
  const same = failed instanceof Unsent ? Unsent : Failed;
  return new same({ ...failed.failure, hint: hint.replaceAll('<provider>', provider) }, { cause: failed.cause });
}

/**
 * Everything that openid-client throws, in our words. The one border behind which its error classes are unknown.
 * `secrets` went out with the request: an issuer that repeats them in its complaint is not quoted on that.
 */
export function translate(thrown: unknown, url: string, secrets: readonly string[] = []): Failed {
  if (thrown instanceof Failed) return thrown;
  const inner = (thrown as { cause?: unknown } | undefined)?.cause;
  if (inner instanceof Failed) return inner;
  return new Failed(judge(thrown, originOf(url), secrets), { cause: thrown });
}

function judge(thrown: unknown, origin: string, secrets: readonly string[]): Failure {
  if (thrown instanceof ResponseBodyError) {
    const code = plain(hide(thrown.error, secrets), 64);
    const detail = plain(hide(thrown.error_description, secrets), 200);
    const busy = thrown.status >= 500 || thrown.status === 429;
    const kind = busy ? 'transient' : (oauth[code] ?? 'refused');
    const hint = hints[code] ?? otherwise[kind];
    return {
      kind,
      what: `${origin} refused: ${code}${detail === '' ? '' : ` (${detail})`}`,
      code,
      ...(hint !== undefined && { hint }),
      ...retryAfter(thrown.response),
    };
  }
  if (thrown instanceof WWWAuthenticateChallengeError) {
    if (thrown.status !== 401) return byStatus(thrown.response, origin);
    return {
      kind: 'refused',
      what: `${origin} refused this client (HTTP ${thrown.status})`,
      code: 'invalid_client',
      hint: hints.invalid_client as string,
    };
  }
  if (thrown instanceof ClientError) {
    const response = responseIn(thrown);
    if (response && response.status !== 200) return byStatus(response, origin);
    const reason = thrown.cause instanceof Error ? thrown.cause.message : thrown.message;
    return {
      kind: 'protocol',
      what: `${origin} answered against the standards: ${plain(reason)}`,
      hint: 'check that the issuer’s URL is right; if it is, whoever runs it must mend this',
    };
  }
  const reason = thrown instanceof Error ? plain(thrown.message) : '';
  return { kind: 'protocol', what: `${origin}: ${reason || 'no reason given'}` };
}

const hide = (text: string | undefined, secrets: readonly string[]): string | undefined =>
  secrets.reduce((rest, secret) => (secret === '' ? rest : rest?.replaceAll(secret, '…')), text);

/** What is asked of a Response or a Reply. */
interface Answered {
  readonly status: number;
  readonly headers: { get(name: string): string | null };
}

function responseIn({ cause }: ClientError): Answered | undefined {
  return cause instanceof Response || cause instanceof Reply ? cause : undefined;
}

function byStatus(response: Answered, origin: string): Failure {
  const { status } = response;
  if (status >= 500 || status === 429 || status === 408) {
    return {
      kind: 'transient',
      what: `${origin} has trouble of its own (HTTP ${status})`,
      hint: 'try again later; ask whoever runs it if it lasts',
      ...retryAfter(response),
    };
  }
  if (status >= 300 && status < 400) {
    return {
      kind: 'protocol',
      what: `${origin} sent us elsewhere (HTTP ${status}), which is not followed`,
      hint: 'give the URL it redirects to, if that is the issuer',
    };
  }
  const hint = status === 404 ? 'check the issuer’s URL' : 'ask whoever runs it';
  return { kind: 'refused', what: `${origin} refused the request (HTTP ${status})`, code: `http_${status}`, hint };
}

function retryAfter(response: Answered): { wait?: Seconds } {
  const value = response.headers.get('retry-after');
  if (value === null) return {};
  const span = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(span) && span > 0 ? { wait: seconds(span) } : {};
}
