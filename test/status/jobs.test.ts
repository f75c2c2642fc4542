import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { jobsWith } from '../../src/status/jobs.js';

let dir: string;
const calls = () => readFileSync(join(dir, 'calls'), 'utf8').trimEnd().split('\n');
function condorQ(lines: string): void {
  writeFileSync(join(dir, 'condor_q'), `#!/bin/sh\nfor word; do echo "$word"; done > '${dir}/calls'\n${lines}\n`);
  chmodSync(join(dir, 'condor_q'), 0o755);
}

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'credmon-jobs-'));
  vi.stubEnv('PATH', `${dir}:/usr/bin:/bin`);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(dir, { recursive: true, force: true });
});

test('only so many are asked for, and only those that use it', async () => {
  condorQ('echo "12.0 12"; echo "13.4 13"');
  expect(await jobsWith({ service: 'osdf', handle: 'ro' }, 9)).toEqual(['12.0', '13.4']);
  expect(calls()).toEqual([
    '-constraint',
    'stringListMember("osdf*ro", OAuthServicesNeeded)',
    '-limit',
    '9',
    '-af:j',
    'ClusterId',
  ]);
  await jobsWith({ service: 'osdf' }, 9);
  expect(calls()[1]).toBe('stringListMember("osdf", OAuthServicesNeeded)');
});

test('none is none, and a tool that fails tells of none', async () => {
  condorQ(':');
  expect(await jobsWith({ service: 'osdf' }, 9)).toEqual([]);
  condorQ('echo "12.0 12"; exit 1');
  expect(await jobsWith({ service: 'osdf' }, 9)).toEqual([]);
});

test('more than a megabyte of answer is no failure: those who have most want to know most', async () => {
  condorQ('yes "123456.0 123456" | head -c 3000000');
  expect((await jobsWith({ service: 'osdf' }, 9)).length).toBeGreaterThan(100_000);
});
