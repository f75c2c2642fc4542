import { nameTrouble } from './names.js';
import type { Templates } from './provider.js';
import { badScope, type Scopes } from './scopes.js';

/**
 * The groups of users by a map file: lines `* user group,group`, of which the first that names the user counts. Everything
 * else in the file is passed over, as HTCondor's own credmons do (LocalCredmon.py, get_user_groups).
 */
export function groupMap(text: string): (user: string) => readonly string[] {
  const known = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const [star, name, groups] = line.trim().split(/\s+/);
    if (star === '*' && name !== undefined && groups !== undefined && !known.has(name)) known.set(name, groups);
  }
  return (user) => [...new Set((known.get(user) ?? '').split(',').filter((group) => group !== ''))];
}

/** What a user's tokens are asked for, or what is wrong. `strange`: groups that no scope is made of. */
export type Filled =
  | { readonly scopes: Scopes; readonly strange: readonly string[]; readonly trouble?: never }
  | { readonly trouble: string };

/**
 * The templates filled in, in their order. A name stands for one segment of a path: one with a slash, `..`, a percent sign or
 * a blank in it could lead elsewhere, and no scope is made of it.
 */
export function fillTemplates(templates: Templates, user: string, groups: readonly string[]): Filled {
  if (nameTrouble(user) !== undefined) return { trouble: 'a user name that no scope can be made of' };
  const good = groups.filter((group) => nameTrouble(group) === undefined);
  const fill = (template: string, names: Readonly<Record<string, string>>): readonly string[] =>
    template
      .replace(/\{(\w+)\}/g, (whole, name: string) => names[name] ?? whole)
      .split(/\s+/)
      .filter((scope) => scope !== '');
  const { group } = templates;
  const scopes = [
    ...fill(templates.user, { username: user }),
    ...(group === undefined ? [] : good.flatMap((name) => fill(group, { username: user, groupname: name }))),
    ...(templates.version === 'wlcg' || templates.version === 'wlcg:1.0' ? ['wlcg'] : []),
    // Who the token is for: the subject of a client's own token is the client.
    `condor.user:${percentEncoded(user)}`,
  ];
  const odd = scopes.find((scope) => /\{\w*\}/.test(scope)) ?? badScope(scopes);
  if (odd !== undefined) return { trouble: `a template that makes no scope: ${odd}` };
  const strange = groups.filter((name) => nameTrouble(name) !== undefined);
  return { scopes: [...new Set(scopes)], strange };
}

/** Of what a name may hold, `+` and `=` are no unreserved characters (RFC 3986 §2.3). */
const percentEncoded = (name: string): string => name.replaceAll('+', '%2B').replaceAll('=', '%3D');
