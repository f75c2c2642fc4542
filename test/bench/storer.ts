/*
 * What credmon-storer adds to a submit, against bare node in the same run: when all is well, and when nobody is there.
 *
 *     npm run bench:storer [-- --rounds 15]
 *
 * A real credmond keeps a credential of whoever runs this, from a real issuer; the storer is asked for it as condor_submit
 * asks. HTCondor's own tools are stood in for by a condor_config_val that prints a whole configuration after 24 ms and a
 * condor_store_cred that answers after 26 ms, as measured on a real access point. Every round runs each once, in turn;
 * medians are compared.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { publicClient, startIssuer } from '../helpers/issuer.js';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '15' } } });
const rounds = Number(values.rounds);
const program = (name: string) => resolve(import.meta.dirname, '../../bin', `${name}.js`);
const dir = mkdtempSync(join(tmpdir(), 'credmon-bench-'));
const [creds, statusDir, bin] = ['creds', 'status', 'bin'].map((name) => join(dir, name)) as [string, string, string];
const issuer = await startIssuer({ accessTokenTtl: 36_000 });
const knobs = `SEC_CREDENTIAL_DIRECTORY_OAUTH = ${creds}
CREDMON_STATUS_DIR = ${statusDir}
CREDMON_BROKER_SOCKET = ${join(dir, 'socket')}
CREDMON_BROKER_SPOOL_DIR = ${join(dir, 'spool')}
demo_ISSUER = ${issuer.url}
demo_CLIENT_ID = ${publicClient.client_id}
`;
const env = { PATH: `${bin}:${process.env.PATH}`, HOME: dir, _CONDOR_CREDMON_STATUS_DIR: statusDir };

function tool(name: string, script: string): void {
  writeFileSync(join(bin, name), `#!/bin/sh\n${script}`);
  chmodSync(join(bin, name), 0o755);
}

function timed(args: readonly string[], code = 0): number {
  const begun = performance.now();
  const { status, stderr } = spawnSync(process.execPath, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  const taken = performance.now() - begun;
  if (status !== code) throw new Error(`${args.join(' ')} ended with ${status}: ${stderr}`);
  return taken;
}

/** The device flow (RFC 8628), by hand. */
async function logIn(): Promise<string> {
  const post = async (path: string, body: Record<string, string>): Promise<Record<string, string>> => {
    const form = new URLSearchParams({ client_id: publicClient.client_id, ...body });
    const answer = await fetch(`${issuer.url}/${path}`, { method: 'POST', body: form });
    return (await answer.json()) as Record<string, string>;
  };
  const code = await post('device/auth', { scope: 'openid offline_access' });
  await issuer.approve(code.user_code ?? '', { login: 'alice' });
  const grant_type = 'urn:ietf:params:oauth:grant-type:device_code';
  const { refresh_token } = await post('token', { grant_type, device_code: code.device_code ?? '' });
  if (refresh_token === undefined) throw new Error('no refresh token');
  return refresh_token;
}

const median = (list: readonly number[]): number =>
  [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] as number;

for (const path of [creds, statusDir, bin]) mkdirSync(path, { mode: 0o755 });
chmodSync(creds, 0o2770);
writeFileSync(join(dir, 'knobs'), knobs);
tool('condor_config_val', `sleep 0.024; cat ${join(dir, 'knobs')}\n`);
tool('condor_store_cred', 'sleep 0.026; echo "No credential is stored."; exit 1\n');

const daemon = spawn(process.execPath, [program('credmond')], { env, stdio: ['ignore', 'ignore', 'inherit'] });
try {
  const folder = join(creds, userInfo().username);
  while (!existsSync(join(creds, 'CREDMON_COMPLETE'))) await pause(5);
  mkdirSync(folder, { mode: 0o700 });
  const refreshToken = await logIn();
  writeFileSync(join(folder, 'demo.top'), JSON.stringify({ refresh_token: refreshToken }), { mode: 0o600 });
  while (!existsSync(join(folder, 'demo.use'))) await pause(5);
  await pause(500);
  const measured: Record<string, number[]> = {};
  const note = (name: string, ms: number) => {
    measured[name] ??= [];
    measured[name].push(ms);
  };
  for (let round = 0; round < rounds; round++) {
    note('node -e 0', timed(['-e', '0']));
    note('all is well', timed([program('credmon-storer'), 'demo']));
    note('no login, no terminal', timed([program('credmon-storer'), 'demo&handle=other&scopes=read:/x'], 1));
  }
  const bare = median(measured['node -e 0'] ?? []);
  console.log(`node ${process.version}, ${rounds} rounds, medians`);
  for (const [name, list] of Object.entries(measured)) {
    const target =
      name === 'all is well' ? ' (target 2.2x)' : name === 'no login, no terminal' ? ' (target 300 ms)' : '';
    console.log(
      `  ${name.padEnd(24)} ${median(list).toFixed(0).padStart(5)} ms   ${(median(list) / bare).toFixed(2)}x${target}`,
    );
  }
} finally {
  const ended = once(daemon, 'exit');
  daemon.kill('SIGTERM');
  await ended;
  await issuer.stop();
  rmSync(dir, { recursive: true, force: true });
}
