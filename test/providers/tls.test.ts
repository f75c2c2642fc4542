import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Issuer as Real, startIssuer } from '../helpers/issuer.js';
import { failureIn, faultyFor, never, open, soon } from './kit.js';

const openssl = '/usr/bin/openssl';

describe.skipIf(!existsSync(openssl))('an issuer with an authority of its own', () => {
  let directory: string;
  let real: Real;
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tls-'));
    for (const [name, alternative] of [
      ['good', 'DNS:localhost'],
      ['other', 'DNS:other.example'],
    ]) {
      const made = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x';
      const files = ['-keyout', join(directory, `${name}.key`), '-out', join(directory, `${name}.pem`)];
      execFileSync(openssl, [...made.split(' '), '-addext', `subjectAltName=${alternative}`, ...files], {
        stdio: 'ignore',
      });
    }
    real = await start('good');
  });
  afterAll(async () => {
    await real.stop();
    rmSync(directory, { recursive: true });
  });
  const file = (name: string) => join(directory, name);
  const start = (name: string) =>
    startIssuer({
      tls: { cert: readFileSync(file(`${name}.pem`), 'utf8'), key: readFileSync(file(`${name}.key`), 'utf8') },
      hostname: 'localhost',
    });

  test('works with its CA file', async () => {
    const code = await open({ issuer: real.url, caFile: file('good.pem') }).device({ scope: 'openid' }, never);
    expect(code.link).toMatch(/^https:\/\/localhost:\d+\/device$/);
  });

  test('is not trusted without', async () => {
    expect(await failureIn(open({ issuer: real.url }).device({}, never))).toMatchObject({
      kind: 'protocol',
      what: `the certificate of ${real.url} cannot be trusted (DEPTH_ZERO_SELF_SIGNED_CERT)`,
      hint: expect.stringContaining('_CA_FILE'),
    });
  });

  test('is not trusted with another’s', async () => {
    const failure = await failureIn(open({ issuer: real.url, caFile: file('other.pem') }).device({}, never));
    expect(failure).toMatchObject({ kind: 'protocol', what: expect.stringContaining('cannot be trusted') });
  });

  test('is not trusted under a name that is not in its certificate', async () => {
    const other = await start('other');
    try {
      const failure = await failureIn(open({ issuer: other.url, caFile: file('other.pem') }).device({}, never));
      expect(failure).toMatchObject({
        kind: 'protocol',
        what: expect.stringContaining('ERR_TLS_CERT_ALTNAME_INVALID'),
      });
    } finally {
      await other.stop();
    }
  });

  test('that speaks no TLS at all', async () => {
    const faulty = await faultyFor();
    const failure = await failureIn(open({ issuer: faulty.url.replace('http:', 'https:') }).device({}, never));
    expect(failure.kind).toBeOneOf(['transient', 'protocol']);
    expect(failure.what).toContain(faulty.url.replace('http:', 'https:'));
  });

  describe('a CA file', () => {
    test.each([
      ['text', 'nothing of the kind\n', /holds no certificate$/],
      ['nothing', '', /holds no certificate$/],
      [
        'a broken certificate',
        '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
        /holds no certificate$/,
      ],
      ['half a certificate', '-----BEGIN CERTIFICATE-----\nMIIB', /holds no certificate$/],
    ])('that holds %s', async (name, content, what) => {
      const caFile = file(`${name}.pem`);
      writeFileSync(caFile, content);
      const failure = await failureIn(open({ issuer: real.url, caFile }).device({}, never));
      expect(failure).toMatchObject({
        kind: 'config',
        what: expect.stringMatching(what),
        hint: expect.stringContaining('test_CA_FILE'),
      });
      expect(failure.what).toContain(caFile);
    });

    test('that is not there', async () => {
      const caFile = file('nowhere');
      const failure = await failureIn(open({ issuer: real.url, caFile }).device({}, never));
      expect(failure).toMatchObject({ kind: 'config', what: `the CA file ${caFile} cannot be read (ENOENT)` });
    });

    test('a folder of them is all of them, as grid sites have it', async () => {
      const code = await open({ issuer: real.url, caFile: directory }).device({ scope: 'openid' }, never);
      expect(code.link).toMatch(/^https:/);
      const empty = file('empty');
      mkdirSync(empty);
      const failure = await failureIn(open({ issuer: real.url, caFile: empty }).device({}, never));
      expect(failure).toMatchObject({ kind: 'config', what: `the CA file ${empty} holds no certificate` });
    });

    test('that is mended meanwhile is read again; and one that never is does not keep anything from closing', async () => {
      const caFile = file('later.pem');
      const issuer = open({ issuer: real.url, caFile });
      expect((await failureIn(issuer.device({}, never))).kind).toBe('config');
      writeFileSync(caFile, readFileSync(file('good.pem')));
      expect(await issuer.device({ scope: 'openid' }, never)).toHaveProperty('userCode');
      const hopeless = open({ issuer: real.url, caFile: file('nowhere') });
      const asked = failureIn(hopeless.device({}, never));
      const closed = hopeless.close();
      await asked;
      await closed;
      await soon(hopeless.close());
    });
  });
});
