/**
 * Whether an entitlement that a person has is, or includes, the one that is asked for (AARC-G069, AARC-G027; RFC 8141).
 * One that is asked for without `#authority` may come from any. A member of a subgroup, or with a role, is a member of
 * the group; a role in a subgroup is none in the group. Anything else is compared as it stands.
 */
export function entitles(has: string, asked: string): boolean {
  const [given, wanted] = [parse(has), parse(asked)];
  if (given === undefined || wanted === undefined) return has === asked;
  if (wanted.authority !== undefined && given.authority !== wanted.authority) return false;
  if (given.namespace !== wanted.namespace || given.kind !== wanted.kind) return false;
  // Capabilities (AARC-G027) are compared whole: what acting on a resource says of those below it is the resource's.
  if (wanted.kind !== 'group' || wanted.role !== undefined)
    return given.role === wanted.role && sameNames(given.names, wanted.names);
  return sameNames(given.names.slice(0, wanted.names.length), wanted.names);
}

interface Entitlement {
  readonly namespace: string;
  readonly kind: 'group' | 'res';
  /** The group and its subgroups, from the outermost. */
  readonly names: readonly string[];
  readonly role?: string;
  readonly authority?: string;
}

/** Undefined: not one of AARC's. */
function parse(text: string): Entitlement | undefined {
  const found = /^(urn:[a-z0-9][a-z0-9-]*:)([^#]+?):(group|res):([^#]+)(?:#([^#]+))?$/i.exec(text);
  if (found === null) return undefined;
  const [, scheme = '', delegated = '', kind, path = '', authority] = found;
  if (kind !== 'group' && kind !== 'res') return undefined;
  const names = path.split(':');
  const role = kind === 'group' && names.at(-1)?.startsWith('role=') ? names.pop()?.slice('role='.length) : undefined;
  // An empty name, or a role that is not the last, is none that AARC knows.
  if (names.length === 0 || role === '' || names.some((name) => name === '')) return undefined;
  if (kind === 'group' && names.some((name) => name.startsWith('role='))) return undefined;
  return {
    // RFC 8141 §3.1: the scheme and the namespace's identifier have no case.
    namespace: scheme.toLowerCase() + delegated,
    kind,
    names,
    ...(role !== undefined && { role }),
    ...(authority !== undefined && { authority }),
  };
}

const sameNames = (one: readonly string[], other: readonly string[]): boolean =>
  one.length === other.length && one.every((name, index) => name === other[index]);
