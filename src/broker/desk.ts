import type { TokenSet, Wanted } from '../core/credential.js';
import { Failed, type Failure } from '../core/failure.js';
import type { Ask, LoginState } from '../core/login.js';
import type { Reply } from '../core/poll.js';
import type { Clock, DeviceCode, Issuer, Log } from '../core/ports.js';
import { issuerOf, type Provider } from '../core/provider.js';
import { redact } from '../core/redact.js';
import { notGranted, type Scopes } from '../core/scopes.js';
import { companionsOf, inAll, ownScopes, type Wish } from '../core/several.js';
import { plain } from '../core/text.js';
import { login } from '../login/flow.js';
import type { Connection } from './connection.js';
import type { Quota } from './quota.js';
import type { ServerRecord } from './records.js';
import type { Order } from './request.js';
import type { Spool, SpoolDraft } from './spool.js';
import { shorten, showableState } from './state-record.js';
import { within } from './within.js';

/** The device grant (grants/device.ts), handed in. */
export interface DeviceGrant {
  requestCode(issuer: Issuer, wanted: Wanted, stop: AbortSignal, nonce?: string): Promise<DeviceCode>;
  pollOnce(issuer: Issuer, code: DeviceCode, stop: AbortSignal): Promise<Reply>;
  loginScopes(wanted: Scopes, supported: readonly string[] | undefined): Scopes;
}

/** The providers as they are configured now. A flow keeps those that it began with. */
export interface Offers {
  readonly providers: ReadonlyMap<string, Provider>;
  /** Throws Failed('config') when its secret cannot be had. */
  issuer(provider: Provider): Issuer;
}

/** What a login and a logout work with. */
export interface Desk {
  readonly clock: Clock;
  readonly log: Log;
  readonly quota: Quota;
  readonly spool: Spool;
  readonly device: DeviceGrant;
  offers(): Offers;
}

/** Who a connection turned out to be. */
export interface Person {
  readonly user: string;
  readonly uid: number;
}

export interface LoginWork {
  readonly order: Order;
  readonly person: Person;
  readonly offers: Offers;
  readonly connection: Connection;
  readonly desk: Desk;
}

/** Milliseconds: for one request to the issuer, for the person to ask for a new code, and for a login in all. */
const requestMs = 60_000;
const againMs = 5 * 60_000;
/** Nobody waits at a terminal for longer, and every flow holds a place. */
export const longestLoginMs = 60 * 60_000;

/** What a Date can be at most: epoch milliseconds. */
const lastMoment = 8.64e15;

const place = { kind: 'condor', by: 'spool' } as const;

const tooSlow = (provider: string): Failure => ({
  kind: 'transient',
  what: `${provider}’s issuer did not answer within ${requestMs / 1000} s`,
  hint: 'try again later',
});
const lateAgain: Failure = {
  kind: 'expired',
  what: 'nobody asked for a new code',
  hint: 'run the command again for a new code',
};
const tooLong: Failure = {
  kind: 'expired',
  what: `the login took more than ${longestLoginMs / 60_000} minutes`,
  hint: 'run the command again for a new code',
};

/** Runs login/flow.ts for one person and sends the states. Rejects with what is no expected failure of a login. */
export async function runLogin({ order, person, offers, connection, desk }: LoginWork): Promise<void> {
  const { clock, log, quota, device } = desk;
  const { provider } = order;
  const ask = askOf(order);
  const subject = `${person.user} (uid ${person.uid}) login to ${nameOf(order)}`;
  const issuer = offers.issuer(provider);
  const late = tooSlow(provider.name);

  const limit = new AbortController();
  const cancel = clock.after(longestLoginMs, () => limit.abort(new Failed(tooLong)));
  const stop = AbortSignal.any([connection.stop, limit.signal]);
  let codes = 0;
  let turn: Promise<{ readonly yes: boolean }> | undefined;
  let grant: string | undefined;

  const states = login({
    ask,
    clock,
    stop,
    code() {
      // The first is paid for by the request itself.
      if (codes++ > 0) quota.draw(person.uid, clock.steady());
      log.info(`${subject}: asking for a code`);
      return within(clock, requestMs, stop, late, async (signal) => {
        const scopes = device.loginScopes(ask.scopes, await issuer.scopes(signal));
        return device.requestCode(issuer, { scopes, ...audienceOf(ask) }, signal);
      });
    },
    async poll(code) {
      try {
        return await within(clock, requestMs, stop, late, (signal) => device.pollOnce(issuer, code, signal));
      } catch (thrown) {
        if (thrown instanceof Failed && thrown.failure === late) return { kind: 'unreachable', failure: late };
        throw thrown;
      }
    },
    async *keep(token) {
      const who = shorten(token.subject?.name ?? '', 200);
      const named = who === '' ? {} : { who };
      yield { at: 'storing', ask, ...named, place };
      grant = await handOver(token, { order, person, desk, issuer });
      log.info(
        `${subject}: approved${token.subject ? ` by ${plain(token.subject.sub)}` : ''}, handed over as ${grant}`,
      );
      const lacking = notGranted(ask.scopes, token.scopes);
      yield { at: 'done', ask, ...named, place, missing: lacking, expires: token.expires };
    },
    again: async () => (await turn)?.yes ?? false,
  });
  try {
    for await (const state of states) {
      if (state.at === 'failed') {
        const { kind, what } = state.failure;
        const rubbish = kind === 'protocol' && connection.stop.aborted;
        log[rubbish ? 'debug' : 'info'](`${subject}: ${kind}: ${plain(redact(what), 300)}`);
      }
      turn = tell(state, connection, grant) ?? turn;
    }
  } finally {
    cancel();
  }
}

/** The answer of the client, if the state is one that has an answer. */
function tell(state: LoginState, connection: Connection, grant: string | undefined) {
  const record = { kind: 'state', state: showableState(state) } as Extract<ServerRecord, { kind: 'state' }>;
  if (state.at === 'expired') return connection.ask(record, ['again'], againMs, lateAgain);
  connection.send(state.at === 'done' && grant !== undefined ? { ...record, grant } : record);
  return undefined;
}

/** Puts the grant into the spool. A refresh token that nobody keeps is given back to the issuer. */
async function handOver(
  token: TokenSet,
  { order, person, desk, issuer }: Omit<LoginWork, 'connection' | 'offers'> & { readonly issuer: Issuer },
): Promise<string> {
  try {
    return await desk.spool.put(grantOf(token, order, person));
  } catch (thrown) {
    const { clock, log } = desk;
    const { refreshToken = '' } = token;
    const revoked = within(clock, 10_000, new AbortController().signal, tooSlow(order.provider.name), (signal) =>
      issuer.revoke(refreshToken, signal),
    );
    await revoked.catch(() => log.warn(`a grant of ${person.user} could be neither handed over nor revoked`));
    throw thrown;
  }
}

/** What the spool is given of an approval. */
export function grantOf(token: TokenSet, order: Order, person: Person): Extract<SpoolDraft, { kind: 'grant' }> {
  const { refreshToken = '', subject } = token;
  const scopes = ownScopes(order, order.also ?? [], order.provider);
  const who = shorten(subject?.name ?? '', 200);
  return {
    kind: 'grant',
    ...whose(order, person),
    ...(scopes && { scopes: [...scopes] }),
    ...audienceOf(order),
    refresh_token: refreshToken,
    ...(order.also ? { also: order.also.map(writable) } : firstToken(token)),
    // One that tells of the end of all times is no reason to lose the login.
    ...(token.grantEnds !== undefined && token.grantEnds < lastMoment && { ends: token.grantEnds }),
    ...(subject && { iss: subject.iss, sub: subject.sub }),
    ...(who !== '' && { who }),
  };
}

const writable = ({ scopes, ...rest }: Wish) => ({ ...rest, ...(scopes && { scopes: [...scopes] }) });

const firstToken = (token: TokenSet) => ({
  access_token: token.accessToken,
  token_type: token.tokenType,
  expires_at: token.expires,
  ...(token.scopes && { granted_scopes: [...token.scopes] }),
});

/** Tells credmond to give up a credential; the id that it has in the spool. Throws Failed('storage'). */
export async function runLogout(order: Order, person: Person, { spool, log }: Desk): Promise<string> {
  const id = await spool.put({ kind: 'logout', ...whose(order, person) });
  log.info(`${person.user} (uid ${person.uid}) logout from ${nameOf(order)}, handed over as ${id}`);
  return id;
}

function askOf(order: Order): Ask {
  const { provider, handle, audience = provider.audience, also } = order;
  return {
    provider: provider.name,
    issuer: issuerOf(provider),
    ...(handle !== undefined && { handle }),
    scopes: inAll([order, ...(also ?? [])], provider),
    ...(audience !== undefined && { audience }),
    ...(also && { also: companionsOf(also) }),
  };
}

const whose = ({ provider, handle }: Order, { user, uid }: Person) => ({
  user,
  uid,
  provider: provider.name,
  ...(handle !== undefined && { handle }),
});

function nameOf({ provider, handle, also = [] }: Order): string {
  const own = handle === undefined ? provider.name : `${provider.name}, handle ${handle}`;
  const others = also.map((one) => one.handle ?? 'none');
  return others.length === 0 ? own : `${own}, and for the handles ${plain(others.join(' '), 300)}`;
}

const audienceOf = ({ audience }: { readonly audience?: string }) => (audience === undefined ? {} : { audience });
