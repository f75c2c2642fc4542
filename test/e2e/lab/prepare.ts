/*
 * Brings what the end-to-end tests need (packages, chroots), so that it is there when they begin: .ci/run does it beside the
 * unit tests. What cannot be had is said by the tests.
 */
import { prepareHost } from './host.js';
import { buildRoom, type Release } from './room.js';

const obstacle = await prepareHost();
if (obstacle !== undefined) console.log(obstacle);
else
  for (const release of ['trixie', 'forky', 'bookworm'] as const satisfies readonly Release[])
    console.log(`${release}: ${(await buildRoom(release)) ?? 'there'}`);
