import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { lastKnobs, parseKnobs, readKnobs } from '../../src/config/knobs.js';

/** A folder for PATH with this as condor_config_val. */
function fake(script: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'knobs-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  writeFileSync(join(directory, 'condor_config_val'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(directory, 'condor_config_val'), 0o755);
  return directory;
}
const env = (directory: string) => ({ PATH: `${directory}:/bin` });

describe('what condor_config_val -dump prints', () => {
  test('NAME = value lines between comments', () => {
    const knobs = parseKnobs(
      [
        '# Configuration from machine: ap.example.org',
        '',
        '# Parameters with names that match .*:',
        'ALL_DEBUG = ',
        'cilogon_ISSUER = https://cilogon.org',
        'CILOGON_CLIENT_ID = cilogon:/client_id/1=2 ',
        'SUBSYS.LOCAL.KNOB = x',
        'EMPTY =',
        'SPACED =   padded  ',
        ' INDENTED = no',
        '# Contributing configuration file(s):',
        '#\t/etc/condor/condor_config',
      ].join('\n'),
    );
    expect(knobs.get('CILOGON_issuer')).toBe('https://cilogon.org');
    expect(knobs.get('cilogon_client_id')).toBe('cilogon:/client_id/1=2');
    expect(knobs.get('subsys.local.knob')).toBe('x');
    expect(knobs.get('SPACED')).toBe('padded');
    expect(knobs.get('ALL_DEBUG')).toBeUndefined();
    expect(knobs.get('EMPTY')).toBeUndefined();
    expect(knobs.get('INDENTED')).toBeUndefined();
    expect(knobs.names).toContain('cilogon_ISSUER');
  });

  test('the last of two counts, under the name that was first', () => {
    const knobs = parseKnobs('a_X = 1\nA_x = 2\n');
    expect(knobs.get('a_x')).toBe('2');
    expect(knobs.names).toEqual(['a_X']);
  });

  test('whatever is printed, nothing is thrown and nothing is made up', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'aB_. =\n#\u0000\r"$()'), maxLength: 200 }), (dump) => {
        const knobs = parseKnobs(dump);
        for (const name of knobs.names) expect(dump).toContain(`${name} =`);
      }),
    );
  });
});

describe('condor_config_val', () => {
  test('is asked once, for everything', async () => {
    const directory = fake('echo "# comment"; echo "ASKED = $*"');
    const knobs = await readKnobs(env(directory));
    expect(knobs?.get('asked')).toBe('-dump -expanded');
    // Whoever does not want to ask again has that.
    await expect(readKnobs(env(fake('exit 1')))).rejects.toThrow();
    expect(lastKnobs()).toBe(knobs);
  });

  // Where HTCondor is installed there is always one: /usr/bin is looked at whatever PATH says.
  test.skipIf(existsSync('/usr/bin/condor_config_val'))('that is not there is no trouble', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'knobs-'));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    expect(await readKnobs({ PATH: directory })).toBeUndefined();
    expect(await readKnobs({})).toBeUndefined();
  });

  // Root looks into every folder.
  test.skipIf(existsSync('/usr/bin/condor_config_val') || process.getuid?.() === 0)(
    'that is not there is no trouble either where PATH has a folder that may not be looked into (skipped for root)',
    async () => {
      const directory = mkdtempSync(join(tmpdir(), 'knobs-'));
      onTestFinished(() => rmSync(directory, { recursive: true }));
      mkdirSync(join(directory, 'closed'), { mode: 0o000 });
      expect(await readKnobs({ PATH: `${join(directory, 'closed')}:/bin` })).toBeUndefined();
    },
  );

  test('that may not be run is said', async () => {
    const directory = fake('echo "A = 1"');
    chmodSync(join(directory, 'condor_config_val'), 0o600);
    await expect(readKnobs(env(directory))).rejects.toMatchObject({
      failure: { kind: 'config', what: expect.stringContaining('EACCES') },
    });
  });

  test('that fails says why', async () => {
    const directory = fake('echo "ERROR on Line 3 of /etc/condor/condor_config" >&2; echo more >&2; exit 1');
    await expect(readKnobs(env(directory))).rejects.toMatchObject({
      failure: { kind: 'config', what: 'condor_config_val: ERROR on Line 3 of /etc/condor/condor_config' },
    });
    await expect(readKnobs(env(fake('exit 3')))).rejects.toMatchObject({ failure: { kind: 'config' } });
  });

  test('that cannot be run is told of', async () => {
    const directory = fake('exit 0');
    chmodSync(join(directory, 'condor_config_val'), 0o644);
    await expect(readKnobs({ PATH: directory })).rejects.toMatchObject({ failure: { kind: 'config' } });
  });

  test.each([
    ['hangs', 'sleep 60'],
    ['hangs and does not want to end', "trap '' TERM INT HUP; while :; do sleep 60; done"],
    ['leaves a child behind that holds its output', 'sleep 60 & wait'],
  ])('that %s is given up', async (_, script) => {
    await expect(readKnobs(env(fake(script)), 100)).rejects.toMatchObject({
      failure: { kind: 'transient', what: 'condor_config_val: gave no answer within 0.1 s' },
    });
  });

  test('may print a lot', async () => {
    const directory = fake(
      'i=0; while [ $i -lt 20000 ]; do echo "KNOB_$i = some value that is not so short"; i=$((i+1)); done',
    );
    expect((await readKnobs(env(directory)))?.names).toHaveLength(20_000);
  });
});
