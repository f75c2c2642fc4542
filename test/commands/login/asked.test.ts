import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { askedFor } from '../../../src/commands/login/asked.js';
import { failureOf } from '../../../src/core/failure.js';

/** A folder with files, and an HTCondor whose configuration says this. */
function room(files: Readonly<Record<string, string>>, knobs = '') {
  const dir = mkdtempSync(join(tmpdir(), 'credmon-asked-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  mkdirSync(join(dir, 'bin'));
  const tool = join(dir, 'bin', 'condor_config_val');
  writeFileSync(tool, `#!/bin/sh\ntouch ${dir}/asked\ncat <<'END'\n${knobs}\nEND\n`);
  chmodSync(tool, 0o755);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  return {
    dir,
    env: { PATH: `${join(dir, 'bin')}:/usr/bin:/bin`, WHO: 'alice' },
    at: (name: string) => join(dir, name),
  };
}

const none = { request: [], submit: [], dag: [] };

test('requests as condor_submit words them; HTCondor is not asked for that', async () => {
  const r = room({});
  const { asked } = await askedFor({ ...none, request: ['a&handle=h&scopes=x,y', 'b'] }, { PATH: '/nowhere' });
  expect(asked).toEqual([
    { request: { service: 'a', handle: 'h', scopes: ['x', 'y'] }, where: '--request a&handle=h&scopes=x,y' },
    { request: { service: 'b' }, where: '--request b' },
  ]);
  await expect(askedFor({ ...none, request: ['a&colour=red'] }, r.env)).rejects.toThrow('colour');
});

test('submit files, with the environment and HTCondor’s knobs', async () => {
  const sub = ['use_oauth_services = cilogon, dune', 'cilogon_oauth_permissions_w = write:/$ENV(WHO)', 'queue'].join(
    '\n',
  );
  const r = room({ 'job.sub': sub }, 'dune_DEFAULT_SCOPES = read:/dune');
  const { asked, unknown } = await askedFor({ ...none, submit: [r.at('job.sub')] }, r.env);
  expect(asked).toEqual([
    { request: { service: 'cilogon', handle: 'w', scopes: ['write:/alice'] }, where: r.at('job.sub') },
    { request: { service: 'dune', scopes: ['read:/dune'] }, where: r.at('job.sub') },
  ]);
  expect(unknown).toEqual([]);
});

test('DAGs: the nodes are named, and what is not there yet is told', async () => {
  const r = room({});
  const sub = 'use_oauth_services = cilogon\nqueue\n';
  for (const name of ['a.sub', 'b.sub']) writeFileSync(r.at(name), sub);
  const dag = `JOB A ${r.at('a.sub')}\nJOB B ${r.at('b.sub')}\nJOB C ${r.at('c.sub')}\n`;
  writeFileSync(r.at('all.dag'), dag);
  const { asked, unknown } = await askedFor({ ...none, dag: [r.at('all.dag')] }, r.env);
  expect(asked).toEqual([{ request: { service: 'cilogon' }, where: `${r.at('all.dag')}, node A and 1 more` }]);
  expect(unknown).toEqual([expect.stringContaining('c.sub is not there (node C)')]);
});

test.each([
  ['submit', 'no file'],
  ['dag', 'no file'],
] as const)('--%s of what is not there, or cannot be read, is a usage failure', async (option, what) => {
  const r = room({});
  const refusal = async (path: string) =>
    askedFor({ ...none, [option]: [path] }, r.env).then(
      () => undefined,
      (thrown) => failureOf(thrown),
    );
  expect(await refusal(r.at('missing'))).toMatchObject({ kind: 'usage', what: expect.stringContaining(what) });
  expect(await refusal(r.dir)).toMatchObject({ kind: 'usage', what: expect.stringContaining('EISDIR') });
});
