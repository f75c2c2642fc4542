import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { makeCertificates } from '../helpers/certificates.js';
import { redirect, set } from '../helpers/faults.js';
import { startIssuer } from '../helpers/issuer.js';
import { listen } from '../helpers/listen.js';
import { accessPoint, cleanup, faultyFor, until } from '../programs/kit.js';

/** Somewhere that nothing should be asked of: how many have connected. It answers nothing. */
async function trap(): Promise<{ readonly url: string; readonly host: string; connections(): number }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => void sockets.add(socket.on('error', () => {})));
  const port = await listen(server, 0, '127.0.0.1');
  cleanup(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { url: `http://127.0.0.1:${port}`, host: `127.0.0.1:${port}`, connections: () => sockets.size };
}

const proxied = (url: string) =>
  Object.fromEntries(
    ['http_proxy', 'https_proxy', 'all_proxy', 'npm_config_proxy'].flatMap((name) => [
      [name, url],
      [name.toUpperCase(), url],
    ]),
  );

describe.concurrent('credmond asks nobody but the issuer', () => {
  test('whatever proxies are in its environment', async () => {
    const [issuer, proxy] = [await faultyFor(), await trap()];
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    p.login(issuer.grant());
    const env = {
      ...proxied(proxy.url),
      NO_PROXY: '',
      no_proxy: '',
      NODE_USE_ENV_PROXY: '1',
      GLOBAL_AGENT_HTTP_PROXY: proxy.url,
    };
    const { code } = await p.credmond(['--once'], env).ended;
    expect([code, proxy.connections()]).toEqual([0, 0]);
    expect(p.use().access_token).toMatch(/^access-/);
  });

  test.each(['discovery', 'token'] as const)('where the answer to %s sends it elsewhere', async (endpoint) => {
    const [issuer, elsewhere] = [await faultyFor(), await trap()];
    issuer.always(endpoint, redirect(`${elsewhere.url}/token`));
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    p.login(issuer.grant());
    const { code } = await p.credmond(['--once']).ended;
    expect([code, elsewhere.connections()]).toEqual([1, 0]);
  });

  test('where its metadata name another’s endpoints', async () => {
    const [issuer, elsewhere] = [await faultyFor(), await trap()];
    issuer.always('discovery', set({ token_endpoint: `${elsewhere.url}/token`, jwks_uri: `${elsewhere.url}/jwks` }));
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    p.login(issuer.grant());
    const { code, err } = await p.credmond(['--once']).ended;
    expect([code, elsewhere.connections()]).toEqual([1, 0]);
    expect(err).toContain(elsewhere.host);
  });

  test('whatever users store with a credential', async () => {
    const [issuer, elsewhere] = [await faultyFor(), await trap()];
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    const { url } = elsewhere;
    const wishes = { token_url: `${url}/token`, vault_url: `${url}/v1/x`, iss: url, issuer: url, token_endpoint: url };
    p.login(issuer.grant());
    writeFileSync(p.at('test.meta'), JSON.stringify({ client_id: 'mine', client_secret: 'x', ...wishes }), {
      mode: 0o600,
    });
    p.login(issuer.grant(), { user: 'bob' });
    const top = { refresh_token: p.top('test', 'bob'), audience: url, ...wishes };
    writeFileSync(p.at('test.top', 'bob'), JSON.stringify(top), { mode: 0o600 });
    await p.credmond(['--once']).ended;
    expect(elsewhere.connections()).toBe(0);
    expect(p.use('test', 'bob').access_token).toMatch(/^access-/);
  });
});

describe.skipIf(!existsSync('/usr/bin/openssl'))(
  'what the environment says of certificates (skipped without openssl)',
  () => {
    /** An issuer whose authority is in no system's store, and a file with that authority. */
    async function foreign() {
      const tls = makeCertificates();
      const asked: string[] = [];
      const issuer = await startIssuer({
        tls,
        hostname: 'localhost',
        intercept: ({ url = '' }) => {
          asked.push(url);
          return false;
        },
      });
      cleanup(() => issuer.stop());
      return { issuer, asked, tls };
    }

    test('does not switch their examination off', async () => {
      const { issuer, asked } = await foreign();
      const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
      p.login('refresh-of-nobody');
      const { code, err } = await p.credmond(['--once'], { NODE_TLS_REJECT_UNAUTHORIZED: '0' }).ended;
      expect([code, asked]).toEqual([1, []]);
      expect(err).toContain('cannot be trusted');
    });

    test('adds none to those that a provider’s CA file names', async () => {
      const { issuer, asked, tls } = await foreign();
      const p = accessPoint({});
      const [extra, other] = [join(p.base, 'extra.pem'), join(p.base, 'other.pem')];
      writeFileSync(extra, tls.ca);
      writeFileSync(other, makeCertificates().ca);
      p.write({ providers: { test: { issuer: issuer.url, ca_file: other } } });
      p.login('refresh-of-nobody');
      const env = { NODE_EXTRA_CA_CERTS: extra, SSL_CERT_FILE: extra };
      const { code } = await p.credmond(['--once'], env).ended;
      expect([code, asked]).toEqual([1, []]);
      // Which it would be trusted by otherwise: then the issuer is asked, and refuses the token.
      p.write({ providers: { test: { issuer: issuer.url } } });
      p.login('refresh-of-nobody-else');
      await p.credmond(['--once'], env).ended;
      expect(asked).toContain('/token');
    });

    test('writes down no keys of connections', async () => {
      const { issuer, asked, tls } = await foreign();
      const p = accessPoint({});
      const [ca, keys] = [join(p.base, 'ca.pem'), join(p.base, 'keys')];
      writeFileSync(ca, tls.ca);
      p.write({ providers: { test: { issuer: issuer.url, ca_file: ca } } });
      p.login('refresh-of-nobody');
      await p.credmond(['--once'], { SSLKEYLOGFILE: keys }).ended;
      expect(asked).toContain('/token');
      expect(existsSync(keys)).toBe(false);
    });
  },
);

test('what Node can be made to tell of its work has no token in it', async () => {
  const issuer = await faultyFor();
  const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
  const first = issuer.grant();
  p.login(first);
  const { code, err } = await p.credmond(['--once', '-d'], {
    NODE_DEBUG: 'http,net,tls,undici,fetch,stream,child_process',
  }).ended;
  expect(code).toBe(0);
  expect(err).toMatch(/UNDICI|NET|STREAM/);
  for (const secret of [first, p.top(), p.use().access_token]) expect(err).not.toContain(secret);
  await until(() => readFileSync(p.at('test.use'), 'utf8').length > 0, 'the token');
});
