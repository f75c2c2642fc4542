import { nameTrouble } from './names.js';
import { readPattern } from './pattern.js';
import { plain } from './text.js';

/** What an issuer says of a person (OpenID Connect Core §5.1): a verified ID token's claims, and those of userinfo. */
export type Claims = Readonly<Record<string, unknown>>;

/** Who approved: `iss` and `sub` together are the person (OpenID Connect Core §5.7), everything else may change hands. */
export interface Identity {
  readonly iss: string;
  readonly sub: string;
  /** Not for files, nor for logs: what may be shown of them is {@link shownName}. */
  readonly claims: Claims;
  /** What came of userinfo: its claims are in; the issuer has none; or it is not for this access token. */
  readonly userinfo: 'merged' | 'none' | 'refused';
}

/** Why a person is not let in. */
export interface Refusal {
  /** One sentence for the log: what is wrong, with names of claims and rules. */
  readonly what: string;
  /** One sentence for whoever stands at the door: nothing in it is anybody else's. */
  readonly told: string;
}

/** One way from a claim to the name of a local account; the first rule that gives one decides. */
export type MapRule = PatternRule | FileRule;

interface PatternRule {
  readonly claim: string;
  /** A regular expression (see pattern.ts), which the whole value must fit. Absent: any value does. */
  readonly match?: string;
  /** The name, with `$1` to `$9` and `${name}` for what the groups of `match` caught. Absent: `$1`, or the whole value. */
  readonly user?: string;
}

interface FileRule {
  readonly claim: string;
  /** A map file, see config/mapfile.ts. */
  readonly file: string;
}

/** A map file that was read: values of the claim to names of accounts. */
export type MapTable = ReadonlyMap<string, string>;

export interface Mapped {
  readonly user: string;
  /** Which rule gave it, counted from 1. */
  readonly rule: number;
}

/**
 * The account that a person has here. `tables`: the map files of `rules`, by their names. Where a claim is a list, any of
 * its texts may give the name; two different names are as good as none.
 */
export function mapUser(
  claims: Claims,
  rules: readonly MapRule[],
  tables: ReadonlyMap<string, MapTable>,
): Mapped | Refusal {
  const who = shownName(claims);
  const told = `you approved as ${who}, who has no account here`;
  const seen: string[] = [];
  for (const [index, rule] of rules.entries()) {
    const nameFor = namerOf(rule, tables);
    const values = textsOf(claims, rule.claim);
    if (values.length > mostValues) {
      seen.push(`${rule.claim} has more than ${mostValues} texts`);
      continue;
    }
    const given = new Set(values.flatMap((value) => nameFor(value) ?? []));
    const names = [...given].filter(isAccountName);
    const [user] = names;
    if (names.length > 1) return { what: `rule ${index + 1} (${rule.claim}) gives ${who} several accounts`, told };
    if (user !== undefined) return { user, rule: index + 1 };
    if (given.size > 0) seen.push(`rule ${index + 1} (${rule.claim}) gives a name that no account can have`);
    else seen.push(absence(claims, rule.claim) ?? `rule ${index + 1} (${rule.claim}) does not fit`);
  }
  const why = seen.length === 0 ? '' : `: ${[...new Set(seen)].join('; ')}`;
  return { what: `none of the ${rules.length} rules gives ${who} an account${why}`, told };
}

/**
 * The texts of a claim, which may be one text or a list. What is no harmless line does not count, and an e-mail address
 * only if the issuer has verified it (OpenID Connect Core §5.1): else people could write anybody's.
 */
export function textsOf(claims: Claims, claim: string): readonly string[] {
  if (!Object.hasOwn(claims, claim) || (claim === 'email' && claims.email_verified !== true)) return [];
  const given = claims[claim];
  // One is verified; a list does not tell which.
  if (claim === 'email' && typeof given !== 'string') return [];
  const all: readonly unknown[] = Array.isArray(given) ? given : [given];
  return all.filter((one): one is string => typeof one === 'string' && one !== '' && plain(one, longestValue) === one);
}

/** Why {@link textsOf} gives nothing; undefined: it gives something. */
export function absence(claims: Claims, claim: string): string | undefined {
  if (!Object.hasOwn(claims, claim)) return `there is no claim ${claim}`;
  if (claim === 'email' && claims.email_verified !== true) return 'the e-mail address is not verified';
  return textsOf(claims, claim).length === 0 ? `${claim} is no text` : undefined;
}

/** What a person is called when talking to them: the name that they know themselves by, else `sub`. One harmless line. */
export function shownName(claims: Claims): string {
  const names = ['preferred_username', 'eppn', 'email', 'name', 'sub'].map((claim) => plain(claims[claim], 80));
  return names.find((name) => name !== '') ?? 'nobody';
}

/** What is wrong with a rule, as the end of a sentence; undefined: nothing. */
export function ruleTrouble(rule: MapRule): string | undefined {
  const { claim } = rule;
  if (!/^[\x21-\x7E]+$/.test(claim)) return `has a claim that cannot be: "${plain(claim, 40)}"`;
  if (claim === 'mail' || claim === 'emails')
    return `goes by ${claim}, of which nobody says that it is verified: it must be email`;
  if ('file' in rule) return undefined;
  const { match, user = '' } = rule;
  const pattern = match === undefined ? undefined : readPattern(match);
  if (typeof pattern === 'string') return `has a match that ${pattern}`;
  const caught = (key: number | string): boolean =>
    typeof key === 'number' ? key <= (pattern?.groups ?? 0) : (pattern?.names.includes(key) ?? false);
  const rest = user.replace(reference, (whole, digit?: string, name?: string) =>
    caught(digit === undefined ? (name ?? '') : Number(digit)) ? 'x' : whole,
  );
  const [lost] = /\$(?:\d|\{[^}]*\}?)?/.exec(rest) ?? [];
  if (lost !== undefined) return `has a user with ${plain(lost, 40)}, which match does not catch`;
  if (user !== '' && !/^[A-Za-z0-9+=_.-]+$/.test(rest)) return `has a user that can be no account's name`;
  return undefined;
}

/** No text of a claim is longer: characters. A list that is to give a name has no more texts. */
const longestValue = 1024;
const mostValues = 256;
/** `$1` to `$9` and `${name}`. */
const reference = /\$(?:([1-9])|\{([A-Za-z_]\w*)\})/g;

/** Undefined: the rule says nothing of that value. */
function namerOf(rule: MapRule, tables: ReadonlyMap<string, MapTable>): (value: string) => string | undefined {
  if ('file' in rule) {
    const table = tables.get(rule.file);
    return (value) => table?.get(value);
  }
  const { match, user } = rule;
  if (match === undefined) return (value) => user ?? value;
  const pattern = readPattern(match);
  if (typeof pattern === 'string') return () => undefined;
  return (value) => {
    const found = pattern.fit(value);
    if (found === undefined) return undefined;
    return user === undefined ? found.get(pattern.groups > 0 ? 1 : 0) : filled(user, found);
  };
}

/** Undefined where a group of the template has caught nothing: a name with a hole may be another's. */
function filled(template: string, found: ReadonlyMap<number | string, string>): string | undefined {
  let whole = true;
  const name = template.replace(reference, (_, digit?: string, group = '') => {
    const caught = found.get(digit === undefined ? group : Number(digit)) ?? '';
    whole &&= caught !== '';
    return caught;
  });
  return whole ? name : undefined;
}

/** A name that an account may have here: not one that programs take for a number, an option or an entry of NIS. */
export const isAccountName = (name: string): boolean =>
  nameTrouble(name) === undefined && /^[A-Za-z0-9_]/.test(name) && !/^\d+$/.test(name) && name !== 'root';
