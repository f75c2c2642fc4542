import { nameTrouble } from './names.js';
import type { Scopes } from './scopes.js';

/**
 * The first scope that may not be asked for; undefined when all may. A template is a scope in which `{username}` stands for
 * the user. One with a path (`storage.read:/data`) allows what lies below it as well, which is no more than it says: so the
 * WLCG token profile has it (§ "Capability-based authorization", paths).
 */
export function notAllowed(scopes: Scopes, templates: Scopes, username: string): string | undefined {
  // A name that is more than one segment of a path fills in nothing.
  const good = nameTrouble(username) === undefined;
  const filled = templates.filter((template) => good || !template.includes('{username}'));
  const allowed = filled.map((template) => template.replaceAll('{username}', () => username));
  return scopes.find((scope) => !allowed.some((one) => covers(one, scope)));
}

function covers(allowed: string, scope: string): boolean {
  if (allowed === scope) return true;
  const [high, low] = [splitPath(allowed), splitPath(scope)];
  if (high === undefined || low === undefined || high.authz !== low.authz) return false;
  // What resolves elsewhere at one verifier or another lies below nothing.
  if (!isStraight(low.path) || !isStraight(high.path)) return false;
  const base = high.path.endsWith('/') ? high.path : `${high.path}/`;
  return low.path === high.path || low.path.startsWith(base);
}

function splitPath(scope: string): { readonly authz: string; readonly path: string } | undefined {
  const at = scope.indexOf(':/');
  return at <= 0 ? undefined : { authz: scope.slice(0, at), path: scope.slice(at + 1) };
}

/** No `.`, `..` or empty segments, and nothing that is decoded into another path; to some servers `..;x` is `..` as well. */
const isStraight = (path: string): boolean => !/[%\\;]|\/\/|(?:^|\/)\.{1,2}(?:\/|$)/.test(path);
