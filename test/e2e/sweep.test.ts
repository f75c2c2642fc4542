import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { installCredmon } from './lab/install.js';
import { type IssuerProcess, startIssuerProcess } from './lab/issuer.js';
import {
  credmondUp,
  credmonKnobs,
  credmonLog,
  filesOf,
  jobOutput,
  logIn,
  printingJob,
  providerKnobs,
  putSecret,
  stays,
  submit,
  sure,
  tokensIn,
  untilTrue,
} from './lab/point.js';
import { as, credentials, installs, leave, path, readLog, root, startPool, stopPool } from './lab/pool.js';

const obstacle = await installs();

/** The schedd marks whoever has had no job for five seconds, and condor_credd removes all that such a one has. */
const sweeping = `
ABSENT_OWNER_LIFETIME = 5
SEC_CREDENTIAL_SWEEP_INTERVAL = 2
SEC_CREDENTIAL_SWEEP_DELAY = 1
`;

describe.skipIf(obstacle)(`condor_credd's sweep${obstacle ? ` (skipped: ${obstacle})` : ''}`, () => {
  /** Alice's can be held, so that she is swept in the middle of a refresh; Bob is between two of them. */
  let issuer: IssuerProcess;
  let other: IssuerProcess;
  const there = (name: string) => existsSync(path(`${credentials}/${name}`));

  beforeAll(async () => {
    // A refresh is due some 5 s after the login: after the hold, and before any sweep however quickly the jobs end.
    [issuer, other] = await Promise.all([startIssuerProcess({ life: 14 }), startIssuerProcess({ life: 14 })]);
    await installCredmon();
    await putSecret();
    const providers = providerKnobs('cilogon', issuer) + providerKnobs('osdf', other);
    await startPool({ knobs: credmonKnobs('cilogon, osdf') + providers + sweeping });
    await credmondUp();
  });
  afterAll(async () => {
    await stopPool();
    await leave();
    await Promise.all([issuer?.stop(), other?.stop()]);
  });

  test('nothing that it removes comes back, not even by a refresh that was in flight', async () => {
    await Promise.all([logIn('alice', issuer, 'cilogon'), logIn('bob', other, 'osdf')]);
    await issuer.hold();
    for (const [user, service] of [
      ['alice', 'cilogon'],
      ['bob', 'osdf'],
    ] as const) {
      const submitted = await submit(user, printingJob(service, 1));
      expect(submitted, submitted.stderr).toMatchObject({ code: 0 });
    }
    await Promise.all(['alice', 'bob'].map((user) => sure(as(user, 'condor_wait -wait 60 job.log'))));
    expect(tokensIn(await jobOutput('alice'))).toHaveLength(1);

    const held = async () => (await issuer.counts()).held;
    await untilTrue('alice’s refresh is in flight', async () => (await held()) === 1);
    await untilTrue('both are swept', async () => !there('alice') && !there('bob'), 60_000);
    expect(await held()).toBe(1);
    expect(await readLog('CredLog')).toMatch(/File alice\.mark has mtime .* Sweeping/);

    const { refreshes } = await other.counts();
    await issuer.release();
    await untilTrue('the late answer came', async () => (await issuer.counts()).refreshes === 1);
    // Longer than the next refresh of either would have been away.
    await stays('nothing of theirs is there', async () => !there('alice') && !there('bob'), 13_000);
    expect(await issuer.counts()).toMatchObject({ refreshes: 1, refusals: 0, reuse: 0 });
    expect(await other.counts()).toMatchObject({ refreshes });
    expect(await sure(as('alice', 'credmon status'))).toContain('You are not logged in to any provider');
    expect(await sure(root('credmon status'))).toContain('Nobody has logged in');
    expect(await credmonLog()).toMatch(/alice\/cilogon: replaced or removed while it was being refreshed/);
  });

  test('a login afterwards takes the mark away, and jobs find tokens again', async () => {
    // In the future, so that no sweep comes before us.
    await sure(root(`touch -d '+1 hour' ${credentials}/alice.mark`));
    expect(await logIn('alice', issuer, 'cilogon')).toMatchObject({ exitCode: 0 });
    expect(there('alice.mark')).toBe(false);
    expect(await filesOf('alice')).toEqual([
      'alice 2700 condor:condor',
      'alice/cilogon.top 600 root:condor',
      'alice/cilogon.use 400 root:condor',
    ]);
    const submitted = await submit('alice', printingJob('cilogon', 30));
    expect(submitted, submitted.stderr).toMatchObject({ code: 0 });
    await untilTrue('the job sees two tokens', async () => tokensIn(await jobOutput('alice')).length >= 2, 60_000);
    expect(await issuer.isGood(tokensIn(await jobOutput('alice')).at(-1) ?? '')).toBe(true);
  });
});
