import { expect, test } from 'vitest';
import { againFor } from '../../src/core/again.js';
import { flows } from '../../src/core/provider.js';

test('how each is had again: a login only where logins are what brings it', () => {
  const request = { service: 'osdf', handle: 'ro', scopes: ['read:/a'] };
  expect(Object.fromEntries(flows.map((flow) => [flow, againFor(flow, request)]))).toEqual({
    device: 'run: credmon login osdf --handle ro --scope read:/a',
    exchange: 'submit again: what is needed is asked for anew',
    client: 'submit again: what is needed is asked for anew',
    vault: 'run condor_submit in a terminal: it has HTCondor’s own storer get it',
    pelican: 'run condor_submit in a terminal: it has HTCondor’s own storer get it',
    mytoken: 'make one at the mytoken server, then run: condor_store_cred add-oauth -s osdf_ro -i FILE',
  });
  expect(againFor('device', request, { force: true })).toMatch(/ --force$/);
});
