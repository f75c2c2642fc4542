import type { LookupFunction } from 'node:net';
import type { CustomFetchOptions } from 'openid-client';
import { Agent, type Dispatcher } from 'undici';
import type { Http } from '../core/ports.js';
import { networkFailed } from './errors.js';
import { Reply } from './reply.js';

/** No answer of an issuer is larger than this. */
const largest = 512 * 1024;
/** For a whole exchange, connecting included. */
const limitMs = 20_000;

export type Fetch = (url: string, options: CustomFetchOptions) => Promise<Reply>;

/**
 * HTTP to one issuer: few kept-alive connections, a body limit, a time limit, no redirects, no proxies, and only the
 * certificate authorities named, where `ca` (PEM) is given. Throws Failed, or the reason of `stop`. `lookup`: instead of
 * the system's, of names.
 */
export function openHttp(ca: string | undefined, lookup?: LookupFunction): { fetch: Fetch; close(): Promise<void> } {
  const agent = new Agent({
    connections: 64,
    maxResponseSize: largest,
    // Said, since NODE_TLS_REJECT_UNAUTHORIZED=0 in condor_master's environment would else be taken for a no.
    connect: { timeout: 10_000, rejectUnauthorized: true, ...(ca !== undefined && { ca }), ...(lookup && { lookup }) },
    keepAliveTimeout: 30_000,
    // A name with several addresses: one that does not answer is passed over (Vault servers are often set up so).
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: 1000,
  });
  const fetch: Fetch = async (url, { method, headers, body, signal: stop }) => {
    try {
      const { origin, pathname, search } = partsOf(url);
      const what = {
        origin,
        path: pathname + search,
        method: method as 'GET' | 'POST',
        headers,
        body: body instanceof URLSearchParams ? body.toString() : ((body as string | null | undefined) ?? null),
      };
      return await exchange(agent, what, stop ?? undefined);
    } catch (cause) {
      if (stop?.aborted) throw stop.reason;
      throw networkFailed(url, cause);
    }
  };
  return { fetch, close: async () => (agent.closed ? undefined : agent.close()) };
}

/** The same for a server that is no OAuth issuer. */
export function openCalls(fetch: Fetch): Http {
  return async (url, { method, headers = {}, body, stop }) => {
    const answer = await fetch(url, { method, headers: { ...headers }, body, signal: stop, redirect: 'manual' });
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers.all(), body: json(text) };
  };
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

type Parts = Pick<URL, 'origin' | 'pathname' | 'search'>;
/** Of the endpoint that was asked last: it mostly is the same. */
let last: { readonly url: string; readonly parts: Parts } | undefined;

function partsOf(url: string): Parts {
  if (last?.url !== url) {
    const { origin, pathname, search } = new URL(url);
    last = { url, parts: { origin, pathname, search } };
  }
  return last.parts;
}

/**
 * One exchange, read to the end before anything is judged: a body that breaks off later would take a rotated token with it.
 * Rejects with undici's error, with the reason of `stop`, or with a TimeoutError. On the dispatcher itself, since a request of
 * undici's with its stream, and AbortSignal.any and AbortSignal.timeout, cost as much as everything else of it.
 */
function exchange(agent: Dispatcher, what: Dispatcher.DispatchOptions, stop: AbortSignal | undefined): Promise<Reply> {
  return new Promise((resolve, reject) => {
    if (stop?.aborted) return void reject(stop.reason);
    let controller: Dispatcher.DispatchController | undefined;
    let ended: Error | undefined;
    const end = () => {
      clearTimeout(timer);
      stop?.removeEventListener('abort', leave);
    };
    const give = (reason: Error) => {
      end();
      ended = reason;
      controller?.abort(reason);
      reject(reason);
    };
    const leave = () => give(stop?.reason);
    const timer = setTimeout(() => give(new DOMException('it took too long', 'TimeoutError')), limitMs);
    timer.unref();
    stop?.addEventListener('abort', leave);
    let status = 0;
    let headers: Record<string, string | string[] | undefined> = {};
    let chunks: Buffer[] = [];
    agent.dispatch(what, {
      onRequestStart(started) {
        controller = started;
        if (ended) started.abort(ended);
      },
      onResponseStart(_, code, fields) {
        // What comes before it, such as 103 Early Hints, is no answer.
        if (code < 200) return;
        status = code;
        headers = fields;
        chunks = [];
      },
      onResponseData: (_, chunk) => void chunks.push(chunk),
      onResponseEnd() {
        end();
        resolve(new Reply(status, headers, textOf(chunks)));
      },
      onResponseError(_, thrown) {
        end();
        reject(thrown);
      },
    });
  });
}

/** Without a byte order mark, as Response.text() reads it. */
function textOf(chunks: readonly Buffer[]): string {
  const [only] = chunks;
  const all = chunks.length === 1 && only ? only : Buffer.concat(chunks);
  const text = all.toString('utf8');
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
}
