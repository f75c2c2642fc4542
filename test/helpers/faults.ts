import type { IncomingMessage, ServerResponse } from 'node:http';

export type Json = Record<string, unknown>;

/** One request that a fault gets to spoil. */
interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** What a healthy issuer would answer. */
  readonly answer: { readonly status: number; readonly body: Json };
  /** Signs claims as the issuer signs ID tokens; see `idToken`. */
  sign(claims: Json, how?: Forgery): string;
  /** Answers like a healthy issuer, with this instead. */
  send(status: number, body: Json): void;
}

export type Forgery = 'bad signature' | 'alg none';

/**
 * A way to answer badly.
 *
 * `processed` says whether the issuer has done its work all the same: then a refresh token was rotated and only the
 * answer is lost, which is what a client must survive (and cannot tell from the outside).
 */
export interface Fault {
  readonly name: string;
  readonly processed: boolean;
  act(exchange: Exchange): void;
}

/** The same misbehaviour from an issuer that has not looked at the request: nothing rotated, nothing lost. */
export function unprocessed(fault: Fault): Fault {
  return { ...fault, name: `${fault.name}, unprocessed`, processed: false };
}

/** An HTTP status without JSON, as proxies and load balancers send. Not processed. */
export function status(code: number, headers: Record<string, string> = {}): Fault {
  return refusal(['status', code, ...Object.entries(headers).flat()].join(' '), ({ response }) => {
    response.writeHead(code, { 'content-type': 'text/plain', ...headers }).end(`status ${code}\n`);
  });
}

/** RFC 6749 §5.2 and RFC 8628 §3.5. Not processed. */
export function error(code: string, description?: string): Fault {
  const body = { error: code, ...(description === undefined ? {} : { error_description: description }) };
  return refusal(code, ({ send }) => send(code === 'invalid_client' ? 401 : 400, body));
}

/** 307, so that a client that follows sends its secrets along. Not processed. */
export function redirect(location: string): Fault {
  return refusal('redirect', ({ response }) => {
    response.writeHead(307, { location }).end();
  });
}

/** TCP reset before a byte of the answer. */
export const reset: Fault = mishap('reset', ({ request }) => {
  request.socket.resetAndDestroy();
});

/** The connection ends after half of the body. */
export const truncated: Fault = mishap('truncated', ({ request, response, answer }) => {
  const body = Buffer.from(JSON.stringify(answer.body));
  response.writeHead(answer.status, { 'content-type': 'application/json', 'content-length': body.length });
  response.write(body.subarray(0, body.length / 2), () => request.socket.destroy());
});

/** Never a byte; the connection stays open until someone gives up. */
export const hang: Fault = mishap('hang', () => {});

/** The right answer, one byte every `ms` milliseconds. */
export function drip(ms = 1): Fault {
  return mishap('drip', ({ response, answer }) => {
    const body = Buffer.from(JSON.stringify(answer.body));
    response.writeHead(answer.status, { 'content-type': 'application/json', 'content-length': body.length });
    let sent = 0;
    const timer = setInterval(() => {
      response.write(body.subarray(sent, ++sent));
      if (sent === body.length) response.end();
    }, ms);
    response.once('close', () => clearInterval(timer));
  });
}

export const malformed: Fault = mishap('malformed JSON', ({ response, answer }) => {
  const text = JSON.stringify(answer.body).replace('{', '{,');
  response.writeHead(answer.status, { 'content-type': 'application/json' }).end(text);
});

/** A portal's login page, or a proxy's apology, with 200. Not processed. */
export const html: Fault = refusal('HTML', ({ response }) => {
  response.writeHead(200, { 'content-type': 'text/html' }).end('<!DOCTYPE html><title>Please log in</title>\n');
});

/** One JSON string of `megabytes`, streamed as fast as it is read. Not processed. */
export function huge(megabytes: number): Fault {
  return refusal('huge', ({ response }) => {
    const chunk = Buffer.alloc(64 * 1024, 'a');
    let left = megabytes * 16;
    response.writeHead(200, { 'content-type': 'application/json' }).write('{"access_token":"');
    const more = () => {
      while (left-- > 0) if (!response.write(chunk)) return void response.once('drain', more);
      response.end('"}');
    };
    more();
  });
}

/** A good answer with these members instead. Answers that are no success stay as they are. */
export function set(members: Json, name = `with ${JSON.stringify(members)}`): Fault {
  return mishap(name, ({ answer, send }) => {
    send(answer.status, answer.status === 200 ? { ...answer.body, ...members } : answer.body);
  });
}

/** A good answer without these members. */
export function without(...members: string[]): Fault {
  return mishap(`without ${members.join(', ')}`, ({ answer, send }) => {
    const kept = Object.entries(answer.body).filter(([name]) => !members.includes(name));
    send(answer.status, Object.fromEntries(kept));
  });
}

/** A good answer whose ID token has other claims, or is forged. */
export function idToken(change: Json | ((claims: Json) => Json), how?: Forgery): Fault {
  const name = how ?? (typeof change === 'function' ? 'changed' : `with ${JSON.stringify(change)}`);
  return mishap(`id_token ${name}`, ({ answer, send, sign }) => {
    const token = answer.body.id_token;
    if (typeof token !== 'string') return send(answer.status, answer.body);
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Json;
    const changed = typeof change === 'function' ? change(claims) : { ...claims, ...change };
    send(answer.status, { ...answer.body, id_token: sign(changed, how) });
  });
}

/** Clears the screen, sets the title, reverses the reading direction, rings, and hides characters. */
export const hostileText = '\u001b[2J\u001b]0;pwned\u0007\u202eEDOC\u2066\u0000\u009b31m\u200bABCD\r\n';

/** Everything that can go wrong at the token endpoint, for tests that must hold whatever happens. */
export const tokenFaults: readonly Fault[] = [
  ...[500, 502, 503].map((code) => status(code)),
  status(503, { 'retry-after': '2' }),
  status(429, { 'retry-after': '2' }),
  status(400),
  reset,
  unprocessed(reset),
  truncated,
  malformed,
  html,
  huge(8),
  drip(),
  hang,
  redirect('https://elsewhere.example/token'),
  ...['invalid_grant', 'invalid_client', 'access_denied', 'expired_token'].map((code) => error(code)),
  ...['slow_down', 'authorization_pending'].map((code) => error(code)),
  without('refresh_token'),
  set({ refresh_token: '' }),
  without('token_type'),
  set({ token_type: 'mac' }),
  without('expires_in'),
  ...[0, -1, '3600', 1e12].map((expires_in) => set({ expires_in })),
  set({ scope: 'openid' }),
  idToken({ iss: 'https://other.example' }),
  idToken({ aud: 'somebody-else' }),
  idToken({ nonce: 'not-yours' }),
  idToken(({ exp, ...claims }) => ({ ...claims, exp: Number(exp) - 2 * 3600 })),
  idToken({}, 'bad signature'),
  idToken({}, 'alg none'),
];

export const discoveryFaults: readonly Fault[] = [
  set({ issuer: 'https://other.example' }),
  without('device_authorization_endpoint'),
];

export const deviceFaults: readonly Fault[] = [
  set({ user_code: hostileText }, 'hostile user_code'),
  set({ verification_uri: `https://issuer.example/${hostileText}` }, 'hostile verification_uri'),
  set({ verification_uri_complete: `https://issuer.example/${hostileText}` }, 'hostile verification_uri_complete'),
  set({ verification_uri: 'http://issuer.example/device', verification_uri_complete: undefined }, 'plain http'),
];

function refusal(name: string, act: Fault['act']): Fault {
  return { name, processed: false, act };
}

function mishap(name: string, act: Fault['act']): Fault {
  return { name, processed: true, act };
}
