import { describe, expect, test } from 'vitest';
import { entitles } from '../../src/core/entitlement.js';

const ns = 'urn:geant:egi.eu:group';

describe('an entitlement', () => {
  test.each([
    ['the same', `${ns}:vo#aai.egi.eu`, `${ns}:vo#aai.egi.eu`],
    ['of any authority, where none is asked for', `${ns}:vo#aai.egi.eu`, `${ns}:vo`],
    ['of none, where none is asked for', `${ns}:vo`, `${ns}:vo`],
    ['of a subgroup', `${ns}:vo:sub:deep#a`, `${ns}:vo#a`],
    ['with a role', `${ns}:vo:role=member#a`, `${ns}:vo#a`],
    ['with the role that is asked for', `${ns}:vo:role=owner#a`, `${ns}:vo:role=owner`],
    ['with urn and the namespace’s identifier in capitals', `URN:GEANT:egi.eu:group:vo#a`, `${ns}:vo#a`],
    ['a capability', 'urn:geant:egi.eu:res:node:act:ssh#a', 'urn:geant:egi.eu:res:node:act:ssh'],
    [
      'of no kind that AARC knows',
      'urn:mace:dir:entitlement:common-lib-terms',
      'urn:mace:dir:entitlement:common-lib-terms',
    ],
    ['no URN at all', 'staff', 'staff'],
  ])('is what is asked for: %s', (_, has, asked) => expect(entitles(has, asked)).toBe(true));

  test.each([
    ['of another authority', `${ns}:vo#evil.example`, `${ns}:vo#aai.egi.eu`],
    ['of no authority, where one is asked for', `${ns}:vo`, `${ns}:vo#aai.egi.eu`],
    ['whose authority only ends so', `${ns}:vo#x#aai.egi.eu`, `${ns}:vo#aai.egi.eu`],
    ['of the group, where a subgroup is asked for', `${ns}:vo#a`, `${ns}:vo:sub#a`],
    ['of a group whose name only begins so', `${ns}:vo2#a`, `${ns}:vo#a`],
    ['of a group in capitals', `${ns}:VO#a`, `${ns}:vo#a`],
    ['without the role', `${ns}:vo#a`, `${ns}:vo:role=owner#a`],
    ['with another role', `${ns}:vo:role=member#a`, `${ns}:vo:role=owner#a`],
    ['with the role in a subgroup', `${ns}:vo:sub:role=owner#a`, `${ns}:vo:role=owner#a`],
    ['with a role that is no role', `${ns}:vo:role=owner:x#a`, `${ns}:vo#a`],
    ['in another namespace', 'urn:geant:evil.example:group:vo#a', `${ns}:vo#a`],
    ['in a namespace that hides a group', 'urn:geant:egi.eu:x:group:vo#a', `${ns}:vo#a`],
    ['a group inside a group’s name', `${ns}:x:group:vo#a`, `${ns}:vo#a`],
    ['with an empty name', `${ns}::vo#a`, `${ns}:vo#a`],
    ['with an empty authority', `${ns}:vo#`, `${ns}:vo#a`],
    ['a resource of the same name', 'urn:geant:egi.eu:res:vo#a', `${ns}:vo#a`],
    ['to act on something below', 'urn:geant:egi.eu:res:node:x#a', 'urn:geant:egi.eu:res:node#a'],
    ['that only begins so, and is no URN', 'staff:x', 'staff'],
  ])('is not: %s', (_, has, asked) => expect(entitles(has, asked)).toBe(false));
});
