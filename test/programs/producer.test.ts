import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { put, room } from '../commands/room.js';

const producer = new URL('../../bin/credmon-producer', import.meta.url).pathname;

/** What it prints where condor_config_val does this (in sh). */
function said(script: string): string {
  const dir = room();
  put(`${dir}/condor_config_val`, `#!/bin/sh\n${script}\n`, 0o755);
  const { status, stdout, stderr } = spawnSync(producer, { encoding: 'utf8', env: { PATH: `${dir}:/usr/bin:/bin` } });
  expect([status, stderr]).toEqual([0, '']);
  return stdout;
}

test('the local issuer is asked for by its name, which ends where the output does', () => {
  expect(said('echo "$1" >&2; exit 1')).toBe('LOCAL:scitokens');
  expect(said('[ "$1" = LOCAL_CREDMON_PROVIDER_NAME ] && echo mylocal')).toBe('LOCAL:mylocal');
});
