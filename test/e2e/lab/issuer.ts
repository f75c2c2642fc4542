import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const project = fileURLToPath(new URL('../../..', import.meta.url));

/** The client that has a secret, as the test issuer knows it; the other one is `public-cli`. */
export const confidential = { id: 'confidential', secret: 's3cret-for-tests-only' };

/** The test issuer (helpers/issuer-main.ts) as a process of its own. The room shares the host's loopback and so reaches it. */
export interface IssuerProcess {
  readonly url: string;
  /** What has been asked of it, by name, and `held`. */
  counts(): Promise<Readonly<Record<string, number>>>;
  approve(userCode: string, login: string): Promise<void>;
  /** Whether an access token is good now. */
  isGood(accessToken: string): Promise<boolean>;
  /** Whether the confidential client's refresh token would still be taken. It is used up by asking. */
  takes(refreshToken: string): Promise<boolean>;
  revokeGrants(): Promise<void>;
  /** Requests for tokens wait from now on, until `release`. */
  hold(): Promise<void>;
  release(): Promise<void>;
  stop(): Promise<void>;
}

/** `life`: of access tokens, in seconds. */
export async function startIssuerProcess({ life }: { readonly life: number }): Promise<IssuerProcess> {
  const program = await bundle();
  // It ends when its stdin does, so it does not outlive us.
  const argv = [program.file, '--until-eof', '--access-token-ttl', `${life}`];
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
    hold: async () => void (await order('POST', 'hold')),
    release: async () => void (await order('POST', 'release')),
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
