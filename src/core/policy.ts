import { entitles } from './entitlement.js';
import { absence, type Claims, type Refusal, shownName, textsOf } from './identity.js';
import type { EpochMs, Seconds } from './time.js';

/** What is asked of whoever logs in. Of each list that is there one must be met; a claim that is missing meets none. */
export interface Policy {
  /** Names in `wlcg.groups`, `groups` or `isMemberOf`. */
  readonly groups?: readonly string[];
  /** In `entitlements` or `eduperson_entitlement`; those of AARC-G069 are compared as such. */
  readonly entitlements?: readonly string[];
  readonly acr?: readonly string[];
  readonly amr?: readonly string[];
  /** Where the person signed in: `idp`, `identity_provider`, … */
  readonly idp?: readonly string[];
  /** Of a verified e-mail address. */
  readonly emailDomains?: readonly string[];
  /** How long ago the person may have signed in at the issuer (auth_time). */
  readonly maxAuthAge?: Seconds;
}

/** How far the issuer's clock may be ahead of ours: seconds. */
const tolerance = 30;

interface Demand {
  readonly claims: readonly string[];
  readonly asked: readonly string[] | undefined;
  readonly meets: (has: string, asked: string) => boolean;
  /** Ends the sentence "you approved as alice, …". */
  readonly told: string;
}

const same = (has: string, asked: string): boolean => has === asked;

const demandsOf = (policy: Policy): readonly Demand[] => [
  {
    claims: ['wlcg.groups', 'groups', 'isMemberOf'],
    asked: policy.groups,
    meets: same,
    told: 'who is in none of the groups that may log in here',
  },
  {
    claims: ['entitlements', 'eduperson_entitlement'],
    asked: policy.entitlements,
    meets: entitles,
    told: 'who has none of the entitlements that may log in here',
  },
  {
    claims: ['acr'],
    asked: policy.acr,
    meets: same,
    told: 'but this machine asks for a stronger way of signing in',
  },
  {
    claims: ['amr'],
    asked: policy.amr,
    meets: same,
    told: 'but this machine asks for another way of signing in',
  },
  {
    claims: ['idp', 'identity_provider'],
    asked: policy.idp,
    meets: same,
    told: 'but this machine asks for another identity provider',
  },
  {
    claims: ['email'],
    asked: policy.emailDomains,
    meets: hasDomain,
    told: 'whose e-mail address is of none of the domains that may log in here',
  },
];

/** Whether these claims are enough to be let in; undefined: they are. */
export function allowed(claims: Claims, policy: Policy, now: EpochMs): Refusal | undefined {
  const who = shownName(claims);
  for (const { claims: names, asked, meets, told } of demandsOf(policy)) {
    if (asked === undefined) continue;
    const met = (name: string) => textsOf(claims, name).some((has) => asked.some((wanted) => meets(has, wanted)));
    if (names.some(met)) continue;
    const why = names.map((name) => absence(claims, name) ?? `${name} holds none that is asked for`).join('; ');
    return { what: `${who} may not log in: ${why}`, told: `you approved as ${who}, ${told}` };
  }
  return policy.maxAuthAge === undefined ? undefined : tooOld(claims, policy.maxAuthAge, now);
}

function tooOld(claims: Claims, most: Seconds, now: EpochMs): Refusal | undefined {
  const who = shownName(claims);
  const at = Object.hasOwn(claims, 'auth_time') ? claims.auth_time : undefined;
  const refuse = (what: string, told: string): Refusal => ({
    what: `${who} may not log in: ${what}`,
    told: `you approved as ${who}, ${told}`,
  });
  if (typeof at !== 'number' || !Number.isFinite(at))
    return refuse('there is no auth_time', 'but the issuer does not tell when you signed in there');
  const age = now / 1000 - at;
  if (age < -tolerance) return refuse('auth_time is to come', 'but the issuer’s clock or ours is wrong');
  if (age <= most) return undefined;
  return refuse(
    `auth_time is ${Math.floor(age)} s ago, and ${most} s are allowed`,
    'who signed in there too long ago: sign out there, and try again',
  );
}

/** Of the domain itself, not of one below it. */
function hasDomain(address: string, domain: string): boolean {
  const [name, of, ...more] = address.split('@');
  return name !== '' && more.length === 0 && of?.toLowerCase() === domain.toLowerCase();
}
