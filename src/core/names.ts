/**
 * Names that users choose and that become file names: `<user>/<service>[_<handle>].top`.
 * HTCondor itself admits `[A-Za-z0-9+=_.-]*` (store_cred.cpp, okay_for_oauth_filename), and with it `..`: we do not.
 */

/** Which credential: the local account, the service as condor_submit names it, and the optional handle. */
export interface CredentialId {
  readonly user: string;
  readonly service: string;
  readonly handle?: string;
}

export type NameTrouble = 'empty' | 'too long' | 'dots' | 'characters' | 'trailing underscore';

const longest = 128;

/** What is wrong with a user, service or handle name; undefined when nothing is. */
export function nameTrouble(name: string): NameTrouble | undefined {
  if (name === '') return 'empty';
  if (name.length > longest) return 'too long';
  if (!/^[A-Za-z0-9+=_.-]+$/.test(name)) return 'characters';
  if (name.startsWith('.') || name.includes('..')) return 'dots';
  if (name.endsWith('_')) return 'trailing underscore';
  return undefined;
}

const why: Readonly<Record<NameTrouble, string>> = {
  empty: 'it is empty',
  'too long': `it has more than ${longest} characters`,
  dots: 'it starts with a dot or has ".." in it',
  characters: 'only letters, digits and + = _ . - may stand in it',
  'trailing underscore': 'it ends with an underscore, which starts a handle',
};

/** One sentence for people about a {@link NameTrouble}. */
export const explainName = (trouble: NameTrouble): string => why[trouble];

/** `service` or `service_handle`: the stem of HTCondor's file names. */
export function stem(id: Pick<CredentialId, 'service' | 'handle'>): string {
  return id.handle === undefined ? id.service : `${id.service}_${id.handle}`;
}

/** `user/service_handle`: names a credential within one machine. */
export const keyOf = (id: CredentialId): string => `${id.user}/${stem(id)}`;

/** Whose it is, by its key. */
export const userOf = (key: string): string => key.slice(0, key.indexOf('/'));

/**
 * Reads a stem back. A service may itself hold underscores (`dune_production`), so the longest of `services`
 * that fits wins; compared without regard to case, as HTCondor compares knob names. `*` fits what no other does.
 * Undefined: none fits.
 */
export function parseStem(
  text: string,
  services: Iterable<string>,
): { readonly service: string; readonly provider: string; readonly handle?: string } | undefined {
  const lower = text.toLowerCase();
  let best: string | undefined;
  let rest: string | undefined;
  for (const name of services) {
    if (name === '*') rest = name;
    const candidate = name.toLowerCase();
    const fits = lower === candidate || lower.startsWith(`${candidate}_`);
    if (fits && (best === undefined || name.length > best.length)) best = name;
  }
  // Where every name is somebody's, which part of it is a handle cannot be told.
  if (best === undefined)
    return rest && nameTrouble(text) === undefined ? { service: text, provider: rest } : undefined;
  // Mostly the very string: there may be very many of them.
  const service = text.startsWith(best) ? best : text.slice(0, best.length);
  // A Kelvin sign is a k in lower case.
  if (nameTrouble(service) !== undefined) return undefined;
  if (text.length === best.length) return { service, provider: best };
  const handle = text.slice(best.length + 1);
  return nameTrouble(handle) === undefined ? { service, provider: best, handle } : undefined;
}

/** The one of `known` that a mistyped name most likely meant; undefined when none is near. */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Math.max(2, Math.ceil(name.length / 3)) + 1;
  for (const candidate of known) {
    const d = distance(name.toLowerCase(), candidate.toLowerCase());
    if (d < least) [least, best] = [d, candidate];
  }
  return best;
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next[j] = Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1);
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
