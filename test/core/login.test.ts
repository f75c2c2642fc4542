import { expect, test } from 'vitest';
import type { Ask, LoginState, Place } from '../../src/core/login.js';
import { hasEnded, placeInWords } from '../../src/core/login.js';
import { findProvider, issuerOf, type Provider } from '../../src/core/provider.js';
import { epochMs } from '../../src/core/time.js';

const ask: Ask = { provider: 'p', issuer: 'https://i.example', scopes: [] };
const place: Place = { kind: 'keyring' };
const failure = { kind: 'denied', what: 'no' } as const;

/** One of each: the compiler says so when one is added. */
const states = {
  starting: [{ at: 'starting', ask }, false],
  code: [{ at: 'code', ask, code: 'A', link: 'https://i.example', expires: epochMs(0) }, false],
  expired: [{ at: 'expired', ask }, false],
  storing: [{ at: 'storing', ask, place }, false],
  waiting: [{ at: 'waiting', ask, place, what: 'x' }, false],
  done: [{ at: 'done', ask, place, missing: [] }, true],
  kept: [{ at: 'kept', ask, place }, true],
  failed: [{ at: 'failed', ask, failure }, true],
} satisfies { [At in LoginState['at']]: [Extract<LoginState, { at: At }>, boolean] };

test.each(Object.entries(states))('%s is an end or not', (_, [state, end]) => {
  expect(hasEnded(state)).toBe(end);
});

test('a place in words', () => {
  expect(placeInWords({ kind: 'condor', by: 'spool' })).toContain('broker');
  expect(placeInWords({ kind: 'condor', by: 'credd' })).toContain('condor_credd');
  expect(placeInWords({ kind: 'keyring' })).toBe('in your desktop keyring');
  expect(placeInWords({ kind: 'file', path: '/x' })).toBe('in /x');
  expect(placeInWords({ kind: 'file', path: '/x', because: 'no D-Bus' })).toBe('in /x (no D-Bus)');
});

const provider = (name: string): Provider => ({ name, flow: 'device', clientId: 'c', scopes: [], bare: false });

test('a provider is found without regard to case, the exact name first', () => {
  const [lower, upper] = [provider('osdf'), provider('OSDF')];
  const both = new Map([
    ['OSDF', upper],
    ['osdf', lower],
  ]);
  expect(findProvider(both, 'osdf')).toBe(lower);
  expect(findProvider(both, 'OSDF')).toBe(upper);
  expect(findProvider(both, 'Osdf')).toBe(upper);
  expect(findProvider(both, 'osd')).toBeUndefined();
  expect(issuerOf({ ...lower, tokenUrl: 'https://t.example/token' })).toBe('https://t.example/token');
  expect(issuerOf(lower)).toBe('osdf');
});
