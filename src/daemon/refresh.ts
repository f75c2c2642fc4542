import {
  type AnyGrant,
  type GrantKind,
  identityOf,
  isRefresh,
  kindOf,
  renewed,
  secretOf,
  type TokenSet,
  wantedOf,
} from '../core/credential.js';
import { Failed, type Failure, failureOf } from '../core/failure.js';
import { loginCommand } from '../core/health.js';
import { type CredentialId, keyOf, stem } from '../core/names.js';
import type { Stamp } from '../core/plan.js';
import {
  type Credentials,
  type Errand,
  type OtherClient,
  type Rotation,
  Superseded,
  type Top,
  unwritable,
} from '../core/ports.js';
import { redact } from '../core/redact.js';
import { notGranted, type Scopes } from '../core/scopes.js';
import type { Intents } from './intents.js';

/** What came of one refresh. */
export type Outcome =
  | {
      readonly kind: 'refreshed';
      readonly grant: GrantKind;
      readonly token: TokenSet;
      readonly stamp: Stamp;
      readonly missing: Scopes;
    }
  /** A login, a deletion or a sweep came in between: look again. */
  | { readonly kind: 'superseded' }
  | { readonly kind: 'gone' }
  | { readonly kind: 'damaged'; readonly trouble: string; readonly stamp?: Stamp }
  /** `stamp`: of the `.top` as it is now, which a rotation may have changed before the answer failed. */
  | { readonly kind: 'failed'; readonly failure: Failure; readonly stamp: Stamp };

export interface RefreshParts {
  readonly credentials: Credentials;
  /** An access token for a grant; with `client`: which the credential was made with, where it is not the provider's. */
  fetch(
    grant: AnyGrant,
    errand: Pick<Errand, 'id' | 'rotation' | 'stop'> & {
      readonly client: OtherClient | undefined;
      origin(handle: string | undefined, service?: string): Promise<Origin>;
    },
  ): Promise<TokenSet>;
  readonly stop: AbortSignal;
  /** What is asked for where the grant names no scopes of its own: it is told when the issuer grants less. */
  readonly scopes?: Scopes;
  /** New refresh tokens that could not be written: by key, with the secret that each takes the place of. */
  readonly held: Map<string, Held>;
  /** Told what the `.top` holds, as soon as it is read. */
  seen?(grant: AnyGrant): void;
  /** Told when the issuer has answered and is asked for nothing else, where that is certain: what came is being written. */
  answered?(): void;
  /** Absent: nobody else refreshes anything meanwhile. */
  readonly others?: Others;
  /** Where it is noted which refresh tokens are out; absent where none that is lost would be missed. */
  readonly intents?: Pick<Intents, 'sending' | 'replaced' | 'settled' | 'refused' | 'ended'> | undefined;
}

/** `failed`: the disk did not take it, and it waits for the next try; else its `.top` was not there to be replaced. */
export interface Held {
  readonly instead: string;
  readonly refreshToken: string;
  readonly failed?: true;
}

/** Whether what lies there is what it takes the place of, or itself where it may not survive a power failure. */
export const isFor = ({ instead, refreshToken }: Held, grant: AnyGrant): boolean =>
  [instead, refreshToken].includes(identityOf(grant));

/** What the refreshes that are under way at once must know of each other. */
interface Others {
  /** Nobody else has this credential in hand until what is returned is called. */
  alone(key: string): Promise<() => void>;
  /** Another credential than the one that is refreshed has a new refresh token, and its `.top` another stamp by our hand. */
  moved(id: CredentialId, before: Stamp, stamp: Stamp): void;
  /** Why the login that lies there with this stamp is of no use any more, if that is known. */
  ended(id: CredentialId, stamp: Stamp): Pick<Failure, 'what'> | undefined;
  /** The issuer no longer honours this login, of the credential itself or of the one that it is made from. */
  hasEnded(id: CredentialId, failure: Failure): void;
}

/** A login that another credential is made from. */
type Origin = Omit<Awaited<ReturnType<Errand['origin']>>, 'issuer'> & {
  readonly client: OtherClient | undefined;
};

/** How often a `.top` that changes while it is written is read again. */
const patience = 5;

/**
 * One refresh of one credential. What is on disk is read at this moment, a new refresh token is durable before the answer
 * is judged, and the access token is written last; whatever happened to the `.top` meanwhile wins.
 */
export async function refreshOnce(id: CredentialId, parts: RefreshParts): Promise<Outcome> {
  let release: (() => void) | undefined;
  let drop: (() => void) | undefined;
  const letGo = (): void => {
    drop?.();
    drop = undefined;
    release?.();
    release = undefined;
  };
  const alone = async (one: CredentialId): Promise<void> => {
    letGo();
    release = await parts.others?.alone(keyOf(one));
  };
  try {
    await alone(id);
    drop = parts.credentials.hold?.(id);
    const top = await parts.credentials.read(id);
    if (top.trouble !== undefined) {
      if (top.trouble === 'absent') return { kind: 'gone' };
      parts.held.delete(keyOf(id));
      return { kind: 'damaged', trouble: top.trouble, ...(top.stamp !== undefined && { stamp: top.stamp }) };
    }
    parts.seen?.(top.grant);
    if (!restsOnAnother(top.grant)) return await refreshed(id, top, parts);
    // Whoever needs another's refresh token takes that one in hand, and nothing else: so nobody waits in a circle. Should
    // this one be replaced meanwhile, its stamp tells.
    letGo();
    return await refreshed(id, top, parts, alone);
  } finally {
    letGo();
  }
}

/** Whether one request to the issuer is all it takes: where scopes are asked for another may follow (grants/narrow.ts). */
const isPlain = (grant: AnyGrant): boolean => isRefresh(grant) && !grant.scopes?.length;

const restsOnAnother = (grant: AnyGrant): boolean =>
  (grant.kind === 'request' && grant.from !== undefined) || (grant.kind === 'vault' && grant.token === undefined);

async function refreshed(
  id: CredentialId,
  top: Exclude<Top, { readonly trouble: string }>,
  parts: RefreshParts,
  alone?: (one: CredentialId) => Promise<void>,
): Promise<Outcome> {
  const { credentials, held, others, stop } = parts;
  const mine = inHand(id, top, parts, isPlain(top.grant) ? parts.answered : undefined);
  const secrets = [top.grant];
  let source: CredentialId | undefined;
  const origin = async (handle: string | undefined, service = id.service): Promise<Origin> => {
    const from: CredentialId = { user: id.user, service, ...(handle !== undefined && { handle }) };
    await alone?.(from);
    const there = await credentials.read(from);
    if (there.trouble !== undefined) throw new Failed(noOrigin(from, there.trouble));
    const ended = others?.ended(from, there.stamp);
    // Its refresh token is not tried again and again for each that is made from it.
    if (ended) throw new Failed(noOrigin(from, `of no use: ${ended.what}`));
    secrets.push(there.grant);
    source = from;
    const theirs = inHand(from, there, parts);
    await theirs.settle();
    return {
      get grant() {
        return theirs.grant;
      },
      client: there.client,
      rotation: {
        ...theirs.rotation,
        keep: async (refreshToken) => {
          const before = theirs.stamp;
          await theirs.rotation.keep(refreshToken).finally(() => others?.moved(from, before, theirs.stamp));
          secrets.push(theirs.grant);
        },
      },
    };
  };
  try {
    await mine.settle();
    // Where one cannot be written another may not be either: whoever asked for it would have it in memory alone.
    if (anyFailed(held)) await credentials.probe?.(id.user);
    const token = await parts.fetch(mine.grant, { id, rotation: mine.rotation, origin, stop, client: top.client });
    await credentials.publish(id, mine.stamp, token);
    const asked = wantedOf(mine.grant).scopes ?? parts.scopes ?? [];
    return {
      kind: 'refreshed',
      grant: kindOf(top.grant),
      token,
      stamp: mine.stamp,
      missing: notGranted(asked, token.scopes),
    };
  } catch (thrown) {
    if (supersededIn(thrown)) return { kind: 'superseded' };
    if (!(thrown instanceof Failed)) throw thrown;
    const failure = withoutSecrets(thrown.failure, [...secrets, mine.grant]);
    const ended = failure.kind === 'login-needed' && (source === undefined || failure.code === 'invalid_grant');
    if (ended) others?.hasEnded(source ?? id, failure);
    return { kind: 'failed', failure, stamp: mine.stamp };
  } finally {
    for (const one of source === undefined ? [id] : [id, source]) parts.intents?.ended(keyOf(one));
  }
}

function anyFailed(held: RefreshParts['held']): boolean {
  for (const { failed } of held.values()) if (failed) return true;
  return false;
}

/** A `.top` as it was read, and what an issuer has put in its place since. */
function inHand(
  id: CredentialId,
  top: { readonly grant: AnyGrant; readonly stamp: Stamp },
  { credentials, held, intents }: Pick<RefreshParts, 'credentials' | 'held' | 'intents'>,
  answered = () => {},
) {
  const key = keyOf(id);
  let { grant, stamp } = top;
  // What was made by exchange is made again: only these are lost when the answer is.
  const noted = isRefresh(grant) || grant.kind === 'mytoken' ? intents : undefined;
  const write = async (refreshToken: string): Promise<void> => {
    try {
      stamp = await replace(id, stamp, identityOf(grant), refreshToken, credentials);
    } catch (thrown) {
      // It may lie there all the same, where only the fsync of the folder failed: that is our own hand, and no login.
      const now = await credentials.read(id).catch(() => undefined);
      const there = now?.trouble === undefined ? now : undefined;
      if (there && identityOf(there.grant) === refreshToken) stamp = there.stamp;
      const mine = held.get(key);
      // Only another login makes it useless: what was moved away may come back as it was.
      const replaced = there && mine && !isFor(mine, there.grant);
      if (replaced) noted?.settled(key);
      if (replaced || failureOf(thrown)?.code === unwritable) held.delete(key);
      else if (mine && !supersededIn(thrown)) held.set(key, { ...mine, failed: true });
      throw thrown;
    }
    held.delete(key);
    noted?.replaced(key);
    grant = renewed(grant, refreshToken);
  };
  const unchanged: Rotation['unchanged'] = (taken) => {
    if (!taken) return noted?.refused(key);
    noted?.settled(key);
    answered();
  };
  /** Until it is on disk it is kept here: the issuer has forgotten the old one already. */
  const keep: Rotation['keep'] = async (refreshToken) => {
    const instead = identityOf(grant);
    if (refreshToken === instead) return unchanged(true);
    held.set(key, { instead, refreshToken });
    const written = write(refreshToken);
    // The disk has it in hand: what others do now makes it wait for nothing.
    answered();
    await written;
  };
  return {
    get grant() {
      return grant;
    },
    get stamp() {
      return stamp;
    },
    rotation: {
      sending: () => noted?.sending(key, stamp),
      keep,
      unchanged,
    } satisfies Rotation,
    /** Writes what could not be written before, if it is still this one's; again, where it may not survive a power failure. */
    async settle(): Promise<void> {
      const earlier = held.get(key);
      if (earlier && isFor(earlier, grant)) await write(earlier.refreshToken);
      held.delete(key);
    },
  };
}

function noOrigin(from: CredentialId, trouble: string): Failure {
  const absent = trouble === 'absent';
  const what = `the login ${stem(from)} that it is made from is ${absent ? 'not there any more' : trouble}`;
  const hint = `run: ${loginCommand({ provider: from.service, ...from })}`;
  return { kind: 'login-needed', what, hint, ...(absent && { code: 'no_origin' }) };
}

/**
 * One more try to write what is held, for a daemon that ends. False: its `.top` is not there, and may come back. Throws
 * Failed('storage'), or Superseded where it is of no use any more.
 */
export async function writeHeld(
  id: CredentialId,
  { credentials, held }: Pick<RefreshParts, 'credentials' | 'held'>,
): Promise<boolean> {
  const [waiting, top] = [held.get(keyOf(id)), await credentials.read(id)];
  if (top.trouble === 'absent') return false;
  if (waiting === undefined || top.trouble !== undefined || !isFor(waiting, top.grant)) return true;
  await replace(id, top.stamp, identityOf(top.grant), waiting.refreshToken, credentials);
  held.delete(keyOf(id));
  return true;
}

/**
 * Rotates. A `.top` that was only touched, or given other scopes, still holds the refresh token that the issuer has
 * replaced: that is no login, and to drop the new one would lose the grant.
 */
async function replace(
  id: CredentialId,
  stamp: Stamp,
  instead: string,
  refreshToken: string,
  credentials: Credentials,
): Promise<Stamp> {
  for (let tries = 1; ; tries++) {
    try {
      return await credentials.rotate(id, stamp, refreshToken);
    } catch (thrown) {
      if (!(thrown instanceof Superseded) || tries === patience) throw thrown;
      const now = await credentials.read(id);
      if (now.trouble !== undefined || identityOf(now.grant) !== instead || now.stamp === stamp) throw thrown;
      stamp = now.stamp;
    }
  }
}

/** An issuer may quote in its refusal what it was sent. */
function withoutSecrets(failure: Failure, grants: readonly AnyGrant[]): Failure {
  let what = failure.what;
  for (const secret of grants.map(secretOf)) if (secret && secret.length >= 8) what = what.replaceAll(secret, '…');
  return { ...failure, what: redact(what) };
}

/** It may come wrapped by the library in whose fetch it was thrown. */
function supersededIn(thrown: unknown): boolean {
  for (let error = thrown; error instanceof Error; error = error.cause) if (error instanceof Superseded) return true;
  return false;
}
