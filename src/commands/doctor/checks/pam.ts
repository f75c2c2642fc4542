import { lookUp } from '../../../broker/accounts.js';
import { openMapFiles } from '../../../config/mapfile.js';
import { failureOf } from '../../../core/failure.js';
import type { Check } from '../check.js';
import { type Finding, teller } from '../finding.js';
import { mayRead } from '../look.js';
import type { World } from '../world.js';

const section = 'ssh logins';
const tell = teller(section);

/** What people may change themselves, and others may have next (OpenID Connect Core §5.7). */
const changeable = ['preferred_username', 'nickname', 'name', 'given_name', 'family_name', 'email'];

/** Whether the map files can be used by the broker, and by nobody else. */
async function maps({ config, root }: World): Promise<readonly Finding[]> {
  const files = config?.pam?.map.flatMap((rule) => ('file' in rule ? [rule] : [])) ?? [];
  if (config === undefined || files.length === 0) return [];
  const broker = await lookUp(config.broker.account);
  const read = openMapFiles([0, ...(broker === undefined ? [] : [broker.uid])]);
  const found: Finding[] = [];
  for (const rule of files) {
    const where = rule.file;
    if (!root && !mayRead(where)) {
      found.push(
        tell.note('pam.map.hidden', `${where} is not for you to see; run as root to see whether it is in order`, {
          where,
        }),
      );
      continue;
    }
    try {
      const people = (await read([rule])).get(where)?.size ?? 0;
      found.push(
        people === 0
          ? tell.warning('pam.map.empty', `the map file ${where} has nobody in it`, {
              where,
              mend: {
                do: `write into it whose account is whose: a value of ${rule.claim} and the account, on a line each`,
              },
            })
          : tell.ok(
              'pam.map',
              `the map file ${where} knows ${people} ${people === 1 ? 'value' : 'values'} of ${rule.claim}`,
            ),
      );
    } catch (thrown) {
      const failure = failureOf(thrown);
      if (failure === undefined) throw thrown;
      const run = /^run: (.*)$/.exec(failure.hint ?? '')?.[1];
      const mend = run === undefined ? { do: failure.hint ?? 'look at it' } : { run };
      found.push(tell.error('pam.map.bad', `${failure.what}: nobody can log in by ssh`, { where, mend }));
    }
  }
  return found;
}

/** What is allowed, and yet more open than most sites would have it. */
function openness({ config }: World): readonly Finding[] {
  const pam = config?.pam;
  if (pam === undefined) return [];
  const found: Finding[] = [];
  const byHand = pam.map.find((rule) => !('file' in rule) && changeable.includes(rule.claim));
  if (byHand !== undefined && !pam.pin)
    found.push(
      tell.warning(
        'pam.unpinned',
        `accounts go by ${byHand.claim}, which another person may have next, and no identity is pinned`,
        {
          where: 'CREDMON_PAM_PIN',
          mend: { set: 'CREDMON_PAM_PIN = true' },
        },
      ),
    );
  if (pam.firstFactor === 'optional')
    found.push(
      tell.warning(
        'pam.phishing',
        'one approval alone gives a shell: whoever talks somebody into approving a code is logged in as them',
        {
          where: 'CREDMON_PAM_FIRST_FACTOR',
          mend: { set: 'CREDMON_PAM_FIRST_FACTOR = required' },
        },
      ),
    );
  const loose = pam.policy.entitlements?.find((one) => /^urn:/i.test(one) && !one.includes('#'));
  if (loose !== undefined)
    found.push(
      tell.warning(
        'pam.authority',
        `${loose} counts from any authority, also from one that a person’s home organisation made up`,
        {
          where: 'CREDMON_PAM_ENTITLEMENTS',
          mend: { do: 'name the authority: …#authority, as the issuer writes it' },
        },
      ),
    );
  const rules = pam.map.length === 1 ? 'one rule' : `${pam.map.length} rules`;
  const asked = Object.keys(pam.policy).length === 0 ? 'nothing else is asked of people' : 'a policy besides';
  return [...found, tell.ok('pam', `people of ${pam.provider} log in by ssh: ${rules} for their accounts, ${asked}`)];
}

export const pamChecks = ({ config }: World): readonly Check[] =>
  config?.pam === undefined ? [] : [maps, openness].map((look) => ({ section, look }));
