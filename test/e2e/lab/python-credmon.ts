import { readFile, writeFile } from 'node:fs/promises';
import type { IssuerProcess } from './issuer.js';
import { credentials, path, root } from './pool.js';
import { until } from './until.js';

/*
 * HTCondor's own credmon in Python, for directories that it has worked in. Debian packages it without all that it imports:
 * scitokens is not in Debian, and 23.9.6 does not start without, so an empty module stands in (no local issuer then).
 */

const modules = '/opt/python-modules';
const log = '/var/log/condor/CredMonOAuthLog';
// Its refreshes go to the test issuer, which has no TLS.
const environment = `PYTHONPATH=${modules} OAUTHLIB_INSECURE_TRANSPORT=1`;

export interface PythonCredmon {
  /** Makes it look through the directory now (SIGHUP); it does so by itself every 60 s. Done when it has seen everything. */
  scan(): Promise<void>;
  log(): Promise<string>;
  /** SIGTERM. What it wrote stays: pid and CREDMON_COMPLETE too. */
  stop(): Promise<void>;
}

/** A path for CREDMON_OAUTH by which condor_master can start it. */
export async function putPythonCredmon(): Promise<string> {
  const program = '/opt/python/condor_credmon_oauth';
  await root(`mkdir -p ${modules} && touch ${modules}/scitokens.py`);
  const text = `#!/bin/sh\nexec env ${environment} /usr/sbin/condor_credmon_oauth "$@"\n`;
  await root(`mkdir -p /opt/python && cat >${program} && chmod 755 ${program}`, { stdin: text });
  return program;
}

/** Starts it in a room whose pool is up, on the pool's credential directory, and waits for its first look through it. */
export async function startPythonCredmon(): Promise<PythonCredmon> {
  // Any log but its own in LOG makes it spin.
  const started = await root(`
    mkdir -p ${modules} && touch ${modules}/scitokens.py && rm -f ${credentials}/CREDMON_COMPLETE ${log}
    cd /var/log/condor && ${environment} setsid /usr/sbin/condor_credmon_oauth </dev/null >${modules}/output 2>&1 &
    echo $!`);
  const pid = started.stdout.trim();
  const text = async () =>
    (await Promise.all([log, `${modules}/output`].map((file) => readFile(path(file), 'utf8').catch(() => '')))).join(
      '',
    );
  const scanned = (what: string) =>
    until(
      async () => ((await root(`test -e ${credentials}/CREDMON_COMPLETE`)).code === 0 ? true : undefined),
      20_000,
      async () => `the Python credmon did not ${what}:\n${await text()}`,
      100,
    );
  await scanned('start');
  return {
    async scan() {
      await root(`rm ${credentials}/CREDMON_COMPLETE; kill -HUP ${pid}`);
      await scanned('scan');
    },
    log: text,
    stop: async () =>
      void (await root(`kill -TERM ${pid}; timeout 10 tail -s 0.1 --pid=${pid} -f /dev/null || kill -KILL ${pid}`)),
  };
}

/**
 * Logs a user in for the Python credmon, leaving what its web application leaves: `.top`, `.use` and `.meta`, the token
 * already old, so that the next scan refreshes it. `final`: as it does where the answer has no refresh token. A client
 * with a secret sends that in the body.
 */
export async function webLogin(
  user: string,
  service: string,
  issuer: IssuerProcess,
  { final = false, client = { id: 'public-cli', secret: '' } } = {},
): Promise<void> {
  const known = (await (await fetch(`${issuer.url}/.well-known/openid-configuration`)).json()) as Record<
    string,
    string
  >;
  const post = async (endpoint: string, form: Record<string, string>) => {
    const secret = client.secret === '' ? undefined : { client_secret: client.secret };
    const body = new URLSearchParams({ client_id: client.id, ...secret, ...form });
    const response = await fetch(known[endpoint] ?? '', { method: 'POST', body });
    return (await response.json()) as Record<string, string>;
  };
  const asked = await post('device_authorization_endpoint', { scope: 'openid offline_access storage.read:/home' });
  await issuer.approve(asked.user_code ?? '', user);
  const grant = 'urn:ietf:params:oauth:grant-type:device_code';
  const { refresh_token, ...token } = await post('token_endpoint', {
    grant_type: grant,
    device_code: asked.device_code ?? '',
  });
  if (refresh_token === undefined) throw new Error(`no refresh token for ${user}: ${JSON.stringify(token)}`);
  const files = {
    top: { refresh_token: final ? '' : refresh_token },
    // The credmon goes by the file's ctime, which nobody can set, so the life is what makes it old.
    use: final ? token : { ...token, expires_in: 0 },
    meta: {
      client_id: client.id,
      client_secret: client.secret,
      token_url: known.token_endpoint,
      use_refresh_token: !final,
    },
  };
  const dir = `${credentials}/${user}`;
  await root(`install -d -o condor -g condor -m 2700 ${dir}`);
  for (const [kind, content] of Object.entries(files))
    await writeFile(path(`${dir}/tmp-${kind}`), JSON.stringify(content), { mode: 0o400 });
  // In its order, and in one go.
  await root(`cd ${dir} && for kind in use top meta; do mv tmp-$kind ${service}.$kind; done`);
}
