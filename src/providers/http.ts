import type { CustomFetchOptions } from 'openid-client';
import { Agent, request } from 'undici';
import { Failed } from '../core/failure.js';
import { networkFailure } from './errors.js';

/** No answer of an issuer is larger than this. */
const largest = 512 * 1024;
/** For a whole exchange, connecting included. */
const limitMs = 20_000;

export type Fetch = (url: string, options: CustomFetchOptions) => Promise<Response>;

/**
 * HTTP to one issuer: few kept-alive connections, a body limit, a time limit, no redirects, no proxies, and only the
 * certificate authorities named, where `ca` (PEM) is given. Throws Failed, or the reason of `stop`.
 */
export function openHttp(ca: string | undefined): { fetch: Fetch; close(): Promise<void> } {
  const agent = new Agent({
    connections: 64,
    maxResponseSize: largest,
    connect: { timeout: 10_000, ...(ca !== undefined && { ca }) },
    keepAliveTimeout: 30_000,
  });
  const fetch: Fetch = async (url, { method, headers, body, signal: stop }) => {
    const limit = AbortSignal.timeout(limitMs);
    const signal = stop ? AbortSignal.any([stop, limit]) : limit;
    try {
      const answer = await request(url, {
        dispatcher: agent,
        method: method as 'GET' | 'POST',
        headers,
        body: body instanceof URLSearchParams ? body.toString() : ((body as string | null | undefined) ?? null),
        signal,
      });
      // Read to the end before anything is judged: a body that breaks off later would take a rotated token with it.
      const text = await answer.body.text();
      const bodiless = [204, 205, 304].includes(answer.statusCode);
      return new Response(bodiless ? null : text, { status: answer.statusCode, headers: flat(answer.headers) });
    } catch (cause) {
      if (stop?.aborted) throw stop.reason;
      throw new Failed(networkFailure(url, cause), { cause });
    }
  };
  return { fetch, close: async () => (agent.closed ? undefined : agent.close()) };
}

function flat(headers: Record<string, string | string[] | undefined>): Headers {
  const out = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    for (const one of Array.isArray(value) ? value : value === undefined ? [] : [value]) out.append(name, one);
  }
  return out;
}
