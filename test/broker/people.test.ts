import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { describe, expect, test } from 'vitest';
import { brokerOn, cleanup, Raw } from './kit.js';

/** Says who it is with nothing but what Node has: a second opinion on the protocol. Prints what it is told. */
const client = `
  const { mkdirSync, rmdirSync } = require('node:fs');
  const [socket, path] = process.argv.slice(1);
  const peer = require('node:net').connect(socket);
  let text = '';
  peer.on('data', (chunk) => {
    text += chunk;
    for (let end; (end = text.indexOf('\\n')) >= 0; text = text.slice(end + 1)) {
      const record = JSON.parse(text.slice(0, end));
      console.log(JSON.stringify(record));
      if (record.kind === 'challenge') {
        try { mkdirSync(path || record.path, 0o500); } catch (error) { console.log(JSON.stringify({ kind: error.code })); }
        peer.write('{"v":1,"kind":"proved"}\\n');
      }
      if (record.kind === 'welcome') peer.write('{"v":1,"kind":"logout","provider":"cilogon"}\\n');
    }
  });
`;

/** Only root can become others. */
describe.runIf(process.getuid?.() === 0)('two people at one broker (skipped unless root)', () => {
  const as = (uid: number, ...args: string[]) => {
    const child = spawn(process.execPath, ['-e', client, ...args], {
      uid,
      gid: uid,
      cwd: '/',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    cleanup(() => child.kill());
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    return async () => JSON.parse(String((await lines.next()).value ?? 'null'));
  };

  test('each is who they are', async () => {
    const broker = await brokerOn();
    const next = as(65534, broker.socket);
    expect(await next()).toMatchObject({ kind: 'challenge' });
    expect(await next()).toMatchObject({ kind: 'welcome', user: 'nobody' });
    const { kind, failure, grant } = await next();
    expect({ kind, failure }).toEqual({ kind: 'bye' });
    expect(broker.log.lines).toContain(`nobody (uid 65534) logout from cilogon, handed over as ${grant}`);
  });

  test('root is told why it cannot', async () => {
    const broker = await brokerOn();
    const raw = new Raw(broker.socket);
    mkdirSync(await raw.challenge(), 0o500);
    raw.send({ kind: 'proved' });
    expect(await raw.refusal()).toMatchObject({
      kind: 'unsupported',
      what: expect.stringContaining('root has no HTCondor jobs'),
    });
  });

  test('a uid without a name is refused', async () => {
    const broker = await brokerOn();
    const next = as(54321, broker.socket);
    await next();
    expect(await next()).toMatchObject({
      kind: 'bye',
      failure: { what: expect.stringContaining('uid 54321 is no account') },
    });
  });

  test('who makes the directory that another was asked for becomes nobody else, and makes the other nobody else', async () => {
    const broker = await brokerOn();
    const victim = new Raw(broker.socket);
    const path = await victim.challenge();
    const next = as(65534, broker.socket, path);
    expect(await next()).toMatchObject({ kind: 'challenge' });
    expect(await next()).toMatchObject({
      kind: 'bye',
      failure: { kind: 'refused', what: expect.stringContaining('nothing is there') },
    });
    // An honest client stops here: it cannot make what is there already.
    expect(() => mkdirSync(path, 0o500)).toThrow('EEXIST');
  });

  test('one cannot look into the challenge folder, nor take another’s directory away', async () => {
    const broker = await brokerOn();
    const raw = new Raw(broker.socket);
    const path = await raw.challenge();
    mkdirSync(path, 0o500);
    const attack = `
      const fs = require('node:fs');
      const [dir, path] = process.argv.slice(1);
      const tries = { list: () => fs.readdirSync(dir), rmdir: () => fs.rmdirSync(path), rename: () => fs.renameSync(path, path + '0') };
      for (const [name, attempt] of Object.entries(tries)) {
        try { attempt(); console.log(JSON.stringify([name, 'done'])); } catch (error) { console.log(JSON.stringify([name, error.code])); }
      }
    `;
    const child = spawn(process.execPath, ['-e', attack, broker.challengeDir, path], {
      uid: 65534,
      gid: 65534,
      cwd: '/',
    });
    let said = '';
    child.stdout.on('data', (chunk) => {
      said += chunk;
    });
    await new Promise((resolve) => child.once('close', resolve));
    expect(
      said
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual([
      ['list', 'EACCES'],
      ['rmdir', 'EPERM'],
      ['rename', 'EPERM'],
    ]);
  });
});
