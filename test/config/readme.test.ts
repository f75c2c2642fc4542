import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { everyKnob } from '../../src/config/condor.js';
import { parseKnobs } from '../../src/config/knobs.js';
import { loadConfig } from '../../src/config/load.js';
import { sortService } from '../../src/core/sorting.js';
import { condor, room } from '../commands/room.js';

const page = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const readme = page('README.md');

/** How the table names a knob: whole, or by its ending where several begin alike. */
const spellings = (knob: string): readonly string[] => [
  knob,
  knob.replace(/^CLIENT_CREDMON_(?:P_)?/, '…'),
  knob.replace(/^P_PELICAN_/, '_'),
];

test('every knob that is read is in the README', () => {
  const knobs = everyKnob();
  expect(knobs.length).toBeGreaterThan(40);
  expect(knobs.filter((knob) => !spellings(knob).some((name) => readme.includes(`\`${name}\``)))).toEqual([]);
});

/** The configuration of HTCondor's that a page shows whole: knobs and what they are set to. */
function shown(path: string): Readonly<Record<string, string>> {
  const blocks = [...page(path).matchAll(/^ *```\n(.*?)^ *```$/gms)].map(([, text = '']) => text);
  const [whole = ''] = blocks.filter((text) => /^ *CREDMON_OAUTH = /m.test(text));
  return Object.fromEntries(
    [...whole.matchAll(/^ *(\w+) = (.*)$/gm)].map(([, name = '', value = '']) => [name, value]),
  );
}

describe.each([
  ['README.md', 'cilogon', 'device', 'vault'],
  ['docs/sites/cilogon.md', 'cilogon', 'device', 'vault'],
  ['docs/sites/icecube.md', 'icecube', 'exchange', 'vault'],
  ['docs/sites/vault.md', '*', 'vault', 'vault'],
  ['docs/sites/pelican.md', 'physicsdata', 'pelican', 'pelican'],
] as const)('the configuration in %s', (path, name, flow, mode) => {
  test('is read as it is meant', async () => {
    const { providers } = await loadConfig({ env: condor(room(), shown(path)).env });
    expect([...providers].map(([one, provider]) => [one, provider.flow])).toEqual([[name, flow]]);
  });

  test('sets no knob of the provider’s that there is not', () => {
    const mine = Object.keys(shown(path)).filter((knob) => knob.toLowerCase().startsWith(`${name.toLowerCase()}_`));
    const knobs = mine.map((knob) => `P${knob.slice(name.length)}`);
    // The permissions are for HTCondor's storer.
    expect(knobs.filter((knob) => ![...everyKnob(), 'P_PELICAN_PERMISSIONS'].includes(knob))).toEqual([]);
    if (name !== '*') expect(knobs.length).toBeGreaterThan(3);
  });

  test('has condor_submit call the storer, of 23.9.6 and 25.14.1', () => {
    const knobs = parseKnobs(
      Object.entries(shown(path))
        .map((pair) => pair.join(' = '))
        .join('\n'),
    );
    const service = name === '*' ? 'dune' : name;
    expect(sortService(service, knobs, [25, 14, 1]).storer).toEqual({ mode });
    expect(sortService(service, knobs, [23, 9, 6]).storer).toEqual({});
  });
});
