import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { startFaulty } from '../helpers/faulty.js';
import { listen } from '../helpers/listen.js';
import { hear, listenIn, type Overheard, remember, rememberCode, rememberIn } from '../helpers/overheard.js';
import '../helpers/overhear.js';

/** The net that all other suites are fished with has no holes where it matters. */
const usual = process.env.CREDMON_TEST_OVERHEARD;
let end: () => Overheard;
beforeEach(() => {
  end = listenIn();
});
afterEach(() => {
  if (usual !== undefined) process.env.CREDMON_TEST_OVERHEARD = usual;
});

const jwt = (payload: object) =>
  ['{"alg":"ES256"}', JSON.stringify(payload), 'a signature of sorts, as long as they are']
    .map((part) => Buffer.from(part).toString('base64url'))
    .join('.');
const room = () => mkdtempSync(join(tmpdir(), 'credmon-overheard-test-'));

test.each<[string, string, string, boolean]>([
  ['a whole one', 'refresh-0123456789abcdefghij', 'sent refresh-0123456789abcdefghij to it', true],
  ['its first half', 'refresh-0123456789abcdefghij', 'sent refresh-01234567…', true],
  ['its last half', 'refresh-0123456789abcdefghij', '…456789abcdefghij"', true],
  ['amid others', 'refresh-0123456789abcdefghij', 'xrefresh-0123456789abcdefghijx', true],
  ['a JWT', jwt({ sub: 'alice', jti: 1 }), `Bearer ${jwt({ sub: 'alice', jti: 1 })}`, true],
  ['the claims of one', jwt({ sub: 'alice', jti: 1 }), jwt({ sub: 'alice', jti: 1 }).split('.')[1] ?? '', true],
  ['another', 'refresh-0123456789abcdefghij', 'refresh-9876543210abcdefg', false],
  ['what is too short to be told', 'refresh-01', 'refresh-01', false],
  ['what cannot be told from other text', 'x'.repeat(40), 'x'.repeat(40), false],
])('%s is found or is not', (_, secret, text, is) => {
  remember(secret);
  hear('screen', 'a test', text);
  const { found, secrets } = end();
  expect(found).toEqual(is ? [`a test: ${secret.slice(0, 12)}…`] : []);
  expect(secrets).toBe(secret.length < 16 ? 0 : 1);
});

/** How one begins, core(5): of what signal, and the command line. */
function core(signal: number, program: string): Buffer {
  const note = (type: number, body: Buffer) =>
    Buffer.concat([Buffer.from(new Uint32Array([5, body.length, type]).buffer), Buffer.from('CORE\0\0\0\0'), body]);
  const [status, info] = [Buffer.alloc(336), Buffer.alloc(136)];
  status.writeInt32LE(signal);
  info.write(`${program} credmond.js`, 56);
  return Buffer.concat([Buffer.from('\x7fELF'), note(1, status), note(3, info)]);
}

test('a code that people type is for their eyes, and for no log', () => {
  rememberCode('WDJB-MJHT');
  hear('screen', 'a terminal', 'your code: WDJB-MJHT');
  hear('log', 'a log', 'alice was shown WDJB-MJHT, not ABCD-EFGH');
  expect(end().found).toEqual(['a log: WDJB-MJHT']);
});

test('forms and answers are known for what is secret in them', () => {
  rememberIn('grant_type=refresh_token&refresh_token=refresh-%2F0123456789abcdef&client_id=public-cli-and-more-of-it');
  rememberIn(
    '{"access_token":"access-0123456789abcdef","scope":"storage.read:/a/long/scope","id_token": "id-0123456789abcdef"}',
  );
  hear('log', 'l', 'refresh-/0123456789abcdef access-0123456789abcdef id-0123456789abcdef storage.read:/a/long/scope');
  expect([...end().found].sort()).toEqual(['l: access-01234…', 'l: id-012345678…', 'l: refresh-/012…']);
});

test('what an issuer answers, what programs print, and the files that a test removes, are listened to', async () => {
  const issuer = await startFaulty();
  onTestFinished(() => issuer.stop());
  const token = issuer.grant();
  const server = createServer((_, response) => response.end('{"device_code":"device-0123456789abcdef"}'));
  const port = await listen(server, 0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await (await fetch(`http://127.0.0.1:${port}`)).text();

  const child = spawn('sh', [
    '-c',
    'printf %s "$0" >&2; sleep 0.05; printf %s "$1" >&2',
    token.slice(0, 9),
    token.slice(9),
  ]);
  const said: Buffer[] = [];
  child.stderr.on('data', (bytes) => said.push(bytes));
  await once(child, 'close');
  expect(Buffer.concat(said).toString()).toBe(token);

  const [first, second] = [room(), room()];
  for (const dir of [first, second]) mkdirSync(join(dir, 'status'));
  writeFileSync(join(first, 'CredMonLog'), token, { mode: 0o600 });
  writeFileSync(join(first, 'status', '1000.json'), 'device-0123456789abcdef', { mode: 0o400 });
  writeFileSync(join(first, 'open'), token, { mode: 0o644 });
  writeFileSync(join(first, 'closed'), token, { mode: 0o600 });
  writeFileSync(join(first, 'test.top'), token, { mode: 0o644 });
  writeFileSync(join(second, 'status', 'all.json'), token, { mode: 0o640 });
  writeFileSync(join(second, 'core'), core(constants.signals.SIGSEGV, '/usr/bin/node'), { mode: 0o600 });
  writeFileSync(join(second, 'core.1'), core(constants.signals.SIGSEGV, 'condor_collector'), { mode: 0o600 });
  writeFileSync(join(second, 'core.2'), core(constants.signals.SIGQUIT, '/usr/bin/node'), { mode: 0o600 });
  rmSync(first, { recursive: true });
  await rm(second, { recursive: true });
  const short = `${token.slice(0, 12)}…`;
  expect([...end().found].sort()).toEqual(
    [
      `stderr of sh: ${short}`,
      `${first}/CredMonLog: ${short}`,
      `${first}/status/1000.json: device-01234…`,
      `${first}/open: ${short}`,
      `${second}/status/all.json: ${short}`,
      `${second}/core: a core dump of "/usr/bin/node credmond.js", signal 11`,
    ].sort(),
  );
});
