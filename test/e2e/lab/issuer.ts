import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { Behaviour, IssuerClient } from '../../helpers/issuer-provider.js';

const project = fileURLToPath(new URL('../../..', import.meta.url));

/** The client that has a secret, as the test issuer knows it; the other one is `public-cli`. */
export const confidential = { id: 'confidential', secret: 's3cret-for-tests-only' };

/** The client that exchanges tokens, and may ask for tokens of `behaviour.subjects` with its secret alone. */
export const exchanger = { id: 'exchanger', secret: 'exchange-s3cret-for-tests-only' };

/** The client that acts for itself (client credentials); its secret goes in the body. */
export const robot = { id: 'robot', secret: 'robot-s3cret-for-tests-only' };

/** The test issuer (helpers/issuer-main.ts) as a process of its own. The room shares the host's loopback and so reaches it. */
export interface IssuerProcess {
  readonly url: string;
  /** What has been asked of it, by name, and `held`. */
  counts(): Promise<Readonly<Record<string, number>>>;
  approve(userCode: string, login: string): Promise<void>;
  deny(userCode: string): Promise<void>;
  /** Whether an access token is good now. */
  isGood(accessToken: string): Promise<boolean>;
  /** Whether the confidential client's refresh token would still be taken. It is used up by asking. */
  takes(refreshToken: string): Promise<boolean>;
  revokeGrants(): Promise<void>;
  /** Changes how it behaves where issuers differ; a member that is null goes back to undefined. */
  behave(changes: { readonly [K in keyof Behaviour]?: Behaviour[K] | null }): Promise<void>;
  /** Requests for tokens wait from now on, until `release`. */
  hold(): Promise<void>;
  release(): Promise<void>;
  /** Device authorizations and requests for tokens take so many milliseconds longer from now on. */
  delay(ms: number): Promise<void>;
  stop(): Promise<void>;
}

export interface IssuerProcessOptions {
  /** Seconds an access token lives. */
  readonly life: number;
  /** Seconds a refresh token lives if it is not used, default a year. */
  readonly refreshTokenLife?: number;
  /** Seconds a device code lives, default 300. */
  readonly codeLife?: number;
  /** Default: a free one. */
  readonly port?: number;
  readonly behaviour?: Partial<Behaviour>;
  /** Instead of the usual ones (helpers/issuer.ts). */
  readonly clients?: readonly IssuerClient[];
}

export async function startIssuerProcess(options: IssuerProcessOptions): Promise<IssuerProcess> {
  const { life, refreshTokenLife, codeLife, port, behaviour = {}, clients } = options;
  const program = await bundle();
  // It ends when its stdin does, so it does not outlive us.
  const argv = [program.file, '--until-eof', '--access-token-ttl', `${life}`, '--behaviour', JSON.stringify(behaviour)];
  if (refreshTokenLife !== undefined) argv.push('--refresh-token-ttl', `${refreshTokenLife}`);
  if (codeLife !== undefined) argv.push('--device-code-ttl', `${codeLife}`);
  if (port !== undefined) argv.push('--port', `${port}`);
  if (clients !== undefined) argv.push('--clients', JSON.stringify(clients));
  const child = spawn(process.execPath, argv, { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const { url } = JSON.parse(line) as { url: string };

  const order = async (method: 'GET' | 'POST', name: string, body?: object): Promise<Record<string, unknown>> => {
    const response = await fetch(`${url}/control/${name}`, { method, ...(body && { body: JSON.stringify(body) }) });
    const answer = (await response.json()) as Record<string, unknown>;
    if (!response.ok) throw new Error(`the issuer would not ${name}: ${answer.error}`);
    return answer;
  };
  return {
    url,
    counts: async () => (await order('GET', 'counts')) as Record<string, number>,
    approve: async (userCode, login) => void (await order('POST', 'approve', { userCode, login })),
    deny: async (userCode) => void (await order('POST', 'deny', { userCode })),
    isGood: async (token) => (await order('POST', 'introspect', { token })).active === true,
    takes: async (refreshToken) => {
      const basic = Buffer.from(`${confidential.id}:${confidential.secret}`).toString('base64');
      const response = await fetch(`${url}/token`, {
        method: 'POST',
        headers: { authorization: `Basic ${basic}` },
        body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refreshToken }),
      });
      const { error } = (await response.json()) as { error?: string };
      if (!response.ok && error !== 'invalid_grant') throw new Error(`the issuer says ${error}`);
      return response.ok;
    },
    revokeGrants: async () => void (await order('POST', 'revoke-grants')),
    behave: async (changes) => void (await order('POST', 'behave', changes)),
    hold: async () => void (await order('POST', 'hold')),
    release: async () => void (await order('POST', 'release')),
    delay: async (ms) => void (await order('POST', 'delay', { ms })),
    stop: async () => {
      child.stdin.end();
      await ended;
      await program.remove();
    },
  };
}

/** Inside the project, where its imports find node_modules. */
async function bundle(): Promise<{ readonly file: string; remove(): Promise<void> }> {
  await mkdir(join(project, '.build'), { recursive: true });
  const dir = await mkdtemp(join(project, '.build/issuer-'));
  const file = join(dir, 'issuer.mjs');
  await build({
    entryPoints: [join(project, 'test/helpers/issuer-main.ts')],
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    outfile: file,
    logLevel: 'warning',
  });
  return { file, remove: () => rm(dir, { recursive: true, force: true }) };
}
