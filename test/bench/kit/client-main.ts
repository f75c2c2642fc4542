/*
 * What the HTTP client allows, in a process of its own: node client-main.mjs URL COUNT AT_ONCE openid|bare [DIR]. Refreshes as
 * many grants of the bench issuer: `openid` by openid-client over an undici pool, `bare` by the pool alone. Nothing is done
 * with the answers, or with DIR the least there is to do: each new refresh token replaces a file, durably (replace.ts). Prints
 * one line of JSON.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as oidc from 'openid-client';
import { Pool } from 'undici';
import { tokenOf } from './issuer.js';
import { replaceDurably } from './replace.js';
import { together } from './together.js';

const [url = '', count = '1000', atOnce = '64', kind = 'openid', dir] = process.argv.slice(2);
const pool = new Pool(url, { connections: Number(atOnce) });

async function post(path: string, headers: Record<string, string>, body: string) {
  const answer = await pool.request({ path, method: 'POST', headers, body });
  return { ...answer, text: await answer.body.text() };
}

const metadata = { issuer: url, token_endpoint: `${url}/token` };
const config = new oidc.Configuration(metadata, 'bench', undefined, oidc.None());
oidc.allowInsecureRequests(config);
config[oidc.customFetch] = async (to, { headers, body }) => {
  const { statusCode, text } = await post(new URL(to).pathname, headers, String(body));
  return new Response(text, { status: statusCode, headers: { 'content-type': 'application/json' } });
};

async function refresh(name: string): Promise<void> {
  if (kind === 'openid') {
    const answer = await oidc.refreshTokenGrant(config, tokenOf(name));
    if (dir !== undefined) await replaceDurably(join(dir, name), 'demo.top', JSON.stringify(answer));
    return;
  }
  const form = new URLSearchParams({ client_id: 'bench', grant_type: 'refresh_token', refresh_token: tokenOf(name) });
  const headers = { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' };
  const { statusCode, text } = await post('/token', headers, form.toString());
  if (statusCode !== 200 || typeof JSON.parse(text).access_token !== 'string') throw new Error(`refused: ${text}`);
}

const names = Array.from({ length: Number(count) }, (_, n) => `client-${kind}-${process.pid}-${n}`);
const warm = names.slice(0, 200).map((name) => `${name}-warm`);
for (const name of dir === undefined ? [] : [...warm, ...names]) {
  mkdirSync(join(dir as string, name));
  writeFileSync(join(dir as string, name, 'demo.top'), '{}', { mode: 0o600 });
}
await together(warm, Number(atOnce), refresh);
const { seconds, cpuMs } = await together(names, Number(atOnce), refresh);
process.stdout.write(`${JSON.stringify({ rate: names.length / seconds, cpuMs: cpuMs / names.length })}\n`);
await pool.close();
