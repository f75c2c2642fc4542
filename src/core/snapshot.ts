import type { Health } from './health.js';
import type { Stamp } from './plan.js';
import type { Provider } from './provider.js';
import type { EpochMs, Seconds } from './time.js';

/** What became of something that came through the spool, for whoever waits for it. */
export interface Settled {
  /** The spool record's id. */
  readonly id: string;
  readonly ok: boolean;
  /** In words, for the person. */
  readonly what: string;
}

export type ProviderNote = Pick<Provider, 'name' | 'flow' | 'scopes' | 'audience'>;

export const noteOf = ({ name, flow, scopes, audience }: Provider): ProviderNote => ({
  name,
  flow,
  scopes,
  ...(audience !== undefined && { audience }),
});

/** What credmond tells of itself, in a file: no secrets. */
export interface Summary {
  readonly v: 1;
  readonly at: EpochMs;
  readonly pid: number;
  /** Last time that everything was looked through. */
  readonly swept?: EpochMs;
  /** Those of the configuration, so that a person's tools need not read that to know whose a service is. */
  readonly providers?: readonly ProviderNote[];
  /** How long before a login ends people are told. */
  readonly warning?: Seconds;
  /** The errno with which the system lets credmond watch no more folders; only in everybody's. */
  readonly unwatched?: string;
}

/** `stamp` lets the daemon know after a restart whether a dead grant is still the same one. */
export type Told = Health & { readonly stamp: Stamp };

/** The same and what it tells of credentials: of one person's in that person's file, or of everybody's when it has been read. */
export interface Snapshot extends Summary {
  readonly credentials: readonly Told[];
  /** The last few, oldest first. */
  readonly settled?: readonly Settled[];
}

/**
 * For root and HTCondor's group, everybody's, in lines of JSON: a {@link Summary}, then what belongs to one person on a
 * line each. More lines are added as things change, and what a later one says takes the place of what an earlier one said
 * of the same person, or of credmond; now and then the file is begun anew. The last line may be one that is being written.
 */
export const everyone = 'all.json';
/** The file of one person, which is that person's. */
export const fileOf = (uid: number): string => `${uid}.json`;

/** All that is told of one person; none: has no credentials any more. Ends its line. */
export const lineOf = (user: string, credentials: string): string =>
  `{"user":${JSON.stringify(user)},"credentials":${credentials}}\n`;

/** Whose line of everybody's file this is, without reading all of it; undefined: it is none of a person's. */
export const userOfLine = (line: string): string | undefined => /^\{"user":"([^"\\]*)",/.exec(line)?.[1];

/** Reads a person's; undefined for what is none. It was written by root or by ourselves, so only its frame is checked. */
export function parseSnapshot(text: string): Snapshot | undefined {
  const value = parsed(text) as Snapshot | undefined;
  return value?.v === 1 && Array.isArray(value.credentials) ? value : undefined;
}

/** What a line of everybody's file says: of credmond, or all of some people's credentials. */
export function parseLine(line: string): {
  readonly summary?: Summary;
  readonly people: readonly (readonly [user: string, credentials: readonly Told[]])[];
} {
  const value = parsed(line) as Partial<Summary & { user: string; credentials: readonly Told[] }> | undefined;
  if (value?.v === 1) {
    const { credentials, ...summary } = value as Summary & Partial<Snapshot>;
    // All in one line, as it was written at first.
    const people = new Map<string, Told[]>();
    for (const one of Array.isArray(credentials) ? credentials : [])
      people.set(one.user, [...(people.get(one.user) ?? []), one]);
    return { summary, people: [...people] };
  }
  if (typeof value?.user !== 'string' || !Array.isArray(value.credentials)) return { people: [] };
  return { people: [[value.user, value.credentials]] };
}

/** Everybody's, line after line. */
export class Everyone {
  summary: Summary | undefined;
  readonly people = new Map<string, readonly Told[]>();

  /** Takes a line in; whose it is: '' for credmond's own, undefined for one that says nothing. */
  add(line: string): string | undefined {
    const { summary, people } = parseLine(line);
    if (summary) this.summary = summary;
    for (const [user, credentials] of people) {
      if (credentials.length > 0) this.people.set(user, credentials);
      else this.people.delete(user);
    }
    return summary ? '' : people[0]?.[0];
  }

  /** Undefined before credmond has told of itself. */
  snapshot(): Snapshot | undefined {
    return this.summary && { ...this.summary, credentials: [...this.people.values()].flat() };
  }
}

/** Everybody's as a whole. */
export function parseEveryone(text: string): Snapshot | undefined {
  const all = new Everyone();
  for (const line of text.split('\n')) all.add(line);
  return all.snapshot();
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) ?? undefined;
  } catch {
    return undefined;
  }
}
