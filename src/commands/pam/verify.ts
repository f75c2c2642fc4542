import { fail } from '../../core/failure.js';
import { nameOf } from '../../core/sshd-config.js';
import type { Plan } from './plan.js';
import type { Sshd } from './sshd.js';

/** Asks sshd whether it takes what is on disk, and whether that is then what counts. Throws Failed('config'). */
export async function check(
  sshd: Sshd | undefined,
  everybody: Plan['everybody'],
  excepted: Plan['excepted'],
  members: readonly string[],
): Promise<void> {
  if (sshd === undefined || Object.keys(everybody).length === 0) return;
  const back = 'everything was put back as it was';
  const trouble = await sshd.test();
  if (trouble !== undefined) fail('config', `sshd -t refuses it: ${trouble}`, back);
  const people = [
    ['nobody', everybody],
    ['root', excepted],
    ...members.map((name) => [name, excepted] as const),
  ] as const;
  for (const [user, wanted] of people) {
    const told = await sshd.effective(user);
    if ('trouble' in told) return fail('config', `sshd -T does not say what counts for ${user}: ${told.trouble}`, back);
    for (const [keyword, value] of Object.entries(wanted)) {
      const counts = (told.get(keyword) ?? told.get(nameOf(keyword)))?.[0];
      if (counts !== value)
        fail(
          'config',
          `for ${user} sshd would take ${keyword} ${counts} instead of ${value}: something overrules it`,
          back,
        );
    }
  }
}
