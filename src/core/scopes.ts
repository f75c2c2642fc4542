/** Scopes are a set, written with spaces (RFC 6749 §3.3) by issuers and with commas by condor_submit: both are read. */
export type Scopes = readonly string[];

/** Splits on commas and white space; sorted, each once. Accepts what RFC 6749 §3.3 calls scope-token and nothing else. */
export function parseScopes(text: string): Scopes {
  return [...new Set(text.split(/[\s,]+/).filter((s) => s !== ''))].sort();
}

/** A scope that is not made of the characters RFC 6749 §3.3 admits; undefined when all are. */
export function badScope(scopes: Scopes): string | undefined {
  return scopes.find((s) => !/^[\x21\x23-\x5B\x5D-\x7E]+$/.test(s));
}

/** As issuers want them: separated by one space. */
export const spaced = (scopes: Scopes): string => scopes.join(' ');

/** Those of `wanted` that `granted` lacks. */
export function missing(wanted: Scopes, granted: Scopes): Scopes {
  const have = new Set(granted);
  return wanted.filter((s) => !have.has(s));
}

/**
 * Those asked for that a token answer does not name. One that names none grants what was asked (RFC 6749 §5.1), and
 * offline_access is granted by the refresh token itself: many issuers do not name it.
 */
export function notGranted(asked: Scopes, answered: Scopes | undefined): Scopes {
  return answered === undefined ? [] : missing(asked, answered).filter((scope) => scope !== 'offline_access');
}

export const sameScopes = (a: Scopes, b: Scopes): boolean => missing(a, b).length === 0 && missing(b, a).length === 0;

const phrases: readonly (readonly [RegExp, (path: string) => string])[] = [
  [/^openid$/, () => 'know who you are'],
  [/^profile$/, () => 'see your name'],
  [/^email$/, () => 'see your e-mail address'],
  [/^offline_access$/, () => 'stay logged in for later refreshes'],
  [/^(?:wlcg|wlcg\.groups|eduperson_entitlement)(?::(.+))?$/, (g) => `see your groups${g ? ` (${g})` : ''}`],
  [/^org\.cilogon\.userinfo$/, () => 'see your identity provider’s details'],
  [/^(?:storage\.)?read:(.+)$/, (p) => `read files below ${p}`],
  [/^storage\.create:(.+)$/, (p) => `create files below ${p}`],
  [/^storage\.modify:(.+)$/, (p) => `change and delete files below ${p}`],
  [/^storage\.stage:(.+)$/, (p) => `bring files from tape below ${p}`],
  [/^write:(.+)$/, (p) => `write files below ${p}`],
  [/^compute\.read$/, () => 'look at jobs'],
  [/^compute\.(create|modify|cancel)$/, (what) => `${what} jobs`],
  [/^condor:\/(\w+)$/, (what) => `HTCondor ${what}`],
];

/** What a scope permits, in words; a scope that is not known is named as it stands. */
export function inWords(scope: string): string {
  for (const [pattern, say] of phrases) {
    const match = pattern.exec(scope);
    if (match) return say(match[1] ?? '');
  }
  return scope;
}
