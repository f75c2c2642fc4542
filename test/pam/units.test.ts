import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { loadConfig } from '../../src/config/load.js';

const source = new URL('../../pam/systemd/', import.meta.url).pathname;
const unit = (name: string) => readFileSync(join(source, name), 'utf8');
const of = (text: string, key: string) => new RegExp(`^${key}=(.*)$`, 'm').exec(text)?.[1];

function room(): string {
  const dir = mkdtempSync(join(tmpdir(), 'credmon-units-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const has = (program: string) => existsSync(`/usr/bin/${program}`);

test('the sockets are where the broker is looked for, and have the names that it knows them by', async () => {
  const dir = room();
  const file = join(dir, 'c.toml');
  writeFileSync(
    file,
    '[providers.i]\nissuer = "https://i.example"\nclient_id = "x"\n[pam]\nenabled = true\n[[pam.map]]\nclaim = "sub"\n',
  );
  // The folders of root, whoever runs this.
  const { broker, pam } = await loadConfig({
    env: { CREDMON_CONFIG: file },
    ...(process.getuid?.() === 0 ? {} : { file }),
  });
  const [forPeople, forPam] = [unit('credmon-broker.socket'), unit('credmon-pam.socket')];
  expect([of(forPeople, 'FileDescriptorName'), of(forPam, 'FileDescriptorName')]).toEqual(['broker', 'pam']);
  expect([of(forPeople, 'SocketMode'), of(forPam, 'SocketMode'), of(forPam, 'SocketUser')]).toEqual([
    '0666',
    '0600',
    'root',
  ]);
  if (process.getuid?.() !== 0) return;
  expect([of(forPeople, 'ListenStream'), of(forPam, 'ListenStream')]).toEqual([broker.socket, pam?.socket]);
  for (const folder of [broker.challengeDir, broker.spoolDir, pam?.identitiesDir])
    expect(unit('tmpfiles.conf')).toContain(`d ${folder} `);
});

test.runIf(has('systemd-analyze'))(
  'systemd understands the units, and finds the service well shut in (skipped without systemd)',
  () => {
    const dir = room();
    for (const name of readdirSync(source).filter((one) => /\.(service|socket)$/.test(one))) {
      // The program is not installed where the tests run.
      writeFileSync(join(dir, name), unit(name).replace(/^ExecStart=.*/m, 'ExecStart=/bin/true'));
    }
    const units = readdirSync(dir).map((name) => join(dir, name));
    expect(execFileSync('systemd-analyze', ['verify', '--man=no', ...units], { stdio: 'pipe' }).toString()).toBe('');
    // 10 is the worst; 2.5 with what Node.js needs.
    execFileSync(
      'systemd-analyze',
      ['security', '--offline=true', '--threshold=20', join(dir, 'credmon-broker.service')],
      { stdio: 'pipe' },
    );
  },
);

test.runIf(has('systemd-tmpfiles') && process.getuid?.() === 0)(
  'the folders are made as the broker wants them (root, systemd)',
  () => {
    const dir = room();
    mkdirSync(join(dir, 'usr/lib/tmpfiles.d'), { recursive: true });
    mkdirSync(join(dir, 'etc'));
    writeFileSync(join(dir, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\ncredmon:x:77:78::/:/bin/false\n');
    writeFileSync(join(dir, 'etc/group'), 'root:x:0:\ncredmon:x:78:\n');
    copyFileSync(join(source, 'tmpfiles.conf'), join(dir, 'usr/lib/tmpfiles.d/credmon.conf'));
    execFileSync('systemd-tmpfiles', [`--root=${dir}`, '--create'], { stdio: 'pipe' });
    const look = (path: string) => {
      const { mode, uid } = lstatSync(join(dir, path));
      return `${(mode & 0o7777).toString(8)} ${uid}`;
    };
    expect(['run/credmon', 'run/credmon/broker', 'run/credmon/pam'].map(look)).toEqual(['755 0', '755 77', '711 0']);
    const lib = ['challenge', 'spool', 'identities'].map((name) => look(`var/lib/credmon/${name}`));
    expect(lib).toEqual(['1733 77', '700 77', '700 77']);
  },
);

const devel = '/usr/share/selinux/devel/Makefile';
test.runIf(existsSync(devel))(
  'checklist 20: the SELinux module compiles, and sshd may connect to one socket only (skipped without selinux-policy-dev)',
  () => {
    const dir = room();
    for (const name of ['credmon.te', 'credmon.fc', 'credmon.if'])
      copyFileSync(join(source, '../selinux', name), join(dir, name));
    execFileSync('make', ['-C', dir, '-f', devel, 'credmon.pp'], { stdio: 'pipe' });
    expect(existsSync(join(dir, 'credmon.pp'))).toBe(true);
    const expanded = readFileSync(join(dir, 'tmp/credmon.tmp'), 'utf8');
    const allowed = [...expanded.matchAll(/^\s*allow sshd_t (.*?)(?: \{.*\})?;$/gm)].map(([, rule]) => rule);
    expect(allowed).toEqual([
      'credmon_pam_runtime_t:dir',
      'credmon_pam_runtime_t:sock_file',
      'credmon_broker_t:unix_stream_socket connectto',
    ]);
  },
);
