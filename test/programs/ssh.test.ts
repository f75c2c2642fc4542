import { appendFileSync, chmodSync, lstatSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { Module } from '../broker/pam/kit.js';
import { confidentialClient } from '../helpers/issuer.js';
import { accessPoint, home, issuerFor, nobody, until, weAreRoot } from './kit.js';

test('the broker that credmond starts has a door for sshd where that is switched on, and status tells of it', async () => {
  const issuer = await issuerFor({ approves: false });
  const p = accessPoint({});
  const [secretFile, socket] = [join(p.base, 'secret'), join(p.base, 'pam', 'socket')];
  writeFileSync(secretFile, confidentialClient.client_secret ?? '', { mode: 0o400 });
  const provider = {
    issuer: issuer.url,
    client_id: confidentialClient.client_id,
    client_secret_file: secretFile,
    scopes: ['openid'],
  };
  p.write({ providers: { test: provider } });
  const pam = { enabled: true, socket, identities_dir: join(p.base, 'identities'), first_factor: 'optional' };
  const lines = Object.entries(pam).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`);
  appendFileSync(p.config, `\n[pam]\n${lines.join('')}\n[[pam.map]]\nclaim = "sub"\n`);
  chmodSync(p.config, 0o644);
  const daemon = p.credmond();
  await daemon.says(`listening at ${socket}`);
  const [door, folder] = [lstatSync(socket), lstatSync(dirname(socket))];
  expect([door.mode & 0o777, folder.mode & 0o777]).toEqual([0o600, 0o711]);
  if (weAreRoot) expect([door.uid, folder.uid, lstatSync(pam.identities_dir).uid]).toEqual([nobody, nobody, nobody]);

  const module = new Module(socket);
  const subject = { user: 'mallory-2', connection: 'c:1', service: 'sshd', rhost: '192.0.2.7', mode: 'login' } as const;
  module.send({ kind: 'auth', ...subject, first: '', face: 'prompt', seconds: 60, locked: false });
  expect(await module.asked()).toContain(`${issuer.url}/device\nand enter the code  `);
  module.answer();
  await module.asked();
  module.answer();
  expect(await module.verdict()).toMatchObject({ result: 'denied' });
  expect(issuer.counts.deviceAuthorizations).toBe(1);

  const h = home({});
  const status = async () => (await h.credmon(['status', '--config', p.config]).ended).out;
  let told = '';
  await until(async () => {
    told = await status();
    return told.includes('UTC: 1 (');
  }, 'the counters');
  expect(told).toMatch(
    /\nssh logins since \S+ \S+ UTC: 1 \(0 approved, 0 with a credential for jobs, 1 denied, 1 to accounts that nobody may log in to\)\.\n$/,
  );
  const json = JSON.parse((await h.credmon(['status', '--json', '--config', p.config]).ended).out);
  expect(json.ssh).toMatchObject({ asked: 1, denied: 1, decoys: 1 });
  daemon.child.kill('SIGQUIT');
  await daemon.ended;
  expect(daemon.err() + daemon.out()).not.toContain(confidentialClient.client_secret);
});
