import { brokerLogin } from '../../broker/client.js';
import type { TokenSet } from '../../core/credential.js';
import { Failed } from '../../core/failure.js';
import type { LoginState, Place } from '../../core/login.js';
import { judge } from '../../core/match.js';
import { notGranted } from '../../core/scopes.js';
import { ownScopes } from '../../core/several.js';
import type { Settled } from '../../core/snapshot.js';
import { until } from '../../status/read.js';
import { creddStore } from '../../stores/credd.js';
import { askOf, type LoginContext, wishesOf, wishOf } from './context.js';
import { directLogin } from './direct.js';
import { firstTokens, healthOf, mine, patience, timesOf } from './tokens.js';
import type { Way } from './way.js';
import { whole } from './whole.js';

/** The client's secret is the broker's, and so is the flow; the grant goes through the spool to credmond. */
export function brokerWay(context: LoginContext): Way {
  const { config, provider, also, clock, stop } = context;
  const place: Place = { kind: 'condor', by: 'spool' };

  async function* login(): AsyncGenerator<LoginState, void, undefined> {
    const begun = clock.now();
    const states = brokerLogin({
      ...config.broker,
      stop,
      clock,
      again: () => context.again(),
      request: { provider: provider.name, ...wishOf(context), ...(also && { also }) },
    });
    try {
      for (;;) {
        const { done, value } = await states.next();
        if (done) return;
        if (value.at !== 'done') {
          yield value;
          continue;
        }
        const grant = (await states.next()).value as string | undefined;
        const waiting = {
          at: 'waiting',
          ask: value.ask,
          place,
          ...(value.who !== undefined && { who: value.who }),
        } as const;
        yield { ...waiting, what: 'credmond to take the login over' };
        const taken = await until(() => takenOver(context, grant), { clock, limit: patience, stop });
        const { expires: _, ...rest } = value;
        if (taken === undefined) {
          yield {
            ...(also ? rest : value),
            note: 'credmond has not taken it over yet. Nothing is lost: it will when it runs again. See: credmon status',
          };
          return;
        }
        if (!taken.ok) {
          throw new Failed({
            kind: 'refused',
            what: `credmond did not take the login over: ${taken.what}`,
            hint: 'tell whoever runs this machine; credmond’s log says more',
          });
        }
        if (also === undefined) {
          yield { ...value, ...timesOf(healthOf(context, context)) };
          continue;
        }
        // Of several, none has the token that came with the login: that is for all of them.
        yield { ...waiting, what: 'credmond to fetch the first tokens' };
        yield { ...rest, ...(await firstTokens(context, wishesOf(context), begun)) };
      }
    } finally {
      // Whoever has seen the end comes no more: the broker must not wait for us, nor this process for its socket.
      await states.return(undefined);
    }
  }

  return { login: () => whole(context, login()), present: async () => present(context, place) };
}

/** With a public client and no broker: the flow runs here, and condor_credd stores the grant. */
export function creddWay(context: LoginContext): Way {
  const { provider, also = [], scopes, audience, env, clock, stop } = context;
  const ask = askOf(context);
  const place: Place = { kind: 'condor', by: 'credd' };
  const credd = creddStore({ env });
  const id = idOf(context, context);

  async function* keep(token: TokenSet): AsyncGenerator<LoginState, void, undefined> {
    const who = token.subject === undefined ? {} : { who: token.subject.name };
    yield { at: 'storing', ask, ...who, place };
    const begun = clock.now();
    const own = ownScopes(context, also, provider);
    const grant = {
      refreshToken: token.refreshToken ?? '',
      ...(own && { scopes: own }),
      ...(audience !== undefined && { audience }),
      since: token.issued,
      ...(token.grantEnds !== undefined && { ends: token.grantEnds }),
    };
    await credd.save(id, grant, stop);
    for (const { handle, ...wanted } of also)
      await credd.request(idOf(context, { handle }), { from: context.handle ?? '', ...wanted }, stop);
    yield { at: 'waiting', ask, ...who, place, what: `credmond to fetch the first token${also.length > 0 ? 's' : ''}` };
    const tokens = await firstTokens(context, wishesOf(context), begun);
    yield { at: 'done', ask, ...who, place, missing: notGranted(ask.scopes, token.scopes), ...tokens };
  }

  return {
    login: () => directLogin(context, keep),
    async present() {
      const known = present(context, place);
      // Where credmond knows better, it does not count that there is a file.
      if (known || healthOf(context, context) || scopes || audience !== undefined) return known;
      return (await credd.query(id, {}, stop)) === 'ready' ? { at: 'kept', ask, place } : undefined;
    },
  };
}

/**
 * What can be made from the login that is there needs no approval, and no broker: condor_credd takes a request for it, which
 * is no secret. `from`: that login's handle, '' for none.
 */
export function madeFrom(context: LoginContext, from: string): AsyncIterable<LoginState> {
  const { env, clock, stop } = context;
  const ask = { ...askOf(context), from };
  const place: Place = { kind: 'condor', by: 'credd' };

  async function* make(): AsyncGenerator<LoginState, void, undefined> {
    yield { at: 'waiting', ask, place, what: 'credmond to fetch the first token' };
    const begun = clock.now();
    const { handle: _, ...wanted } = wishOf(context);
    await creddStore({ env }).request(idOf(context, context), { from, ...wanted }, stop);
    const tokens = await firstTokens(context, [context], begun);
    yield { at: 'done', ask, place, missing: healthOf(context, context)?.missing ?? [], ...tokens };
  }

  return whole(context, make());
}

const idOf = ({ provider }: LoginContext, { handle }: { readonly handle?: string | undefined }) => ({
  service: provider.name,
  ...(handle !== undefined && { handle }),
});

function takenOver({ config }: LoginContext, grant: string | undefined): Settled | undefined {
  return mine(config.statusDir)?.settled?.find(({ id }) => id === grant);
}

function present(context: LoginContext, place: Place): Extract<LoginState, { at: 'kept' }> | undefined {
  const verdict = judge(context, healthOf(context, context), context.provider, context.clock.now());
  if (verdict.kind !== 'good' && verdict.kind !== 'ended' && verdict.kind !== 'pending') return undefined;
  const { life } = verdict.health;
  return { at: 'kept', ask: askOf(context), place, ...(life && { expires: life.expires }) };
}
