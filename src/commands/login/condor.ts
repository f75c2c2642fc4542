import { brokerLogin } from '../../broker/client.js';
import type { TokenSet } from '../../core/credential.js';
import { Failed } from '../../core/failure.js';
import type { Health } from '../../core/health.js';
import type { LoginState, Place } from '../../core/login.js';
import { issuerOf } from '../../core/provider.js';
import { notGranted, sameScopes } from '../../core/scopes.js';
import type { Settled } from '../../core/snapshot.js';
import { type EpochMs, seconds } from '../../core/time.js';
import { readMine, until } from '../../status/read.js';
import { creddStore } from '../../stores/credd.js';
import { askOf, type LoginContext } from './context.js';
import { directLogin } from './direct.js';
import type { Way } from './way.js';
import { whole } from './whole.js';

/** How long credmond has to take over a login and to fetch its first token. */
const patience = seconds(45);

/** The client's secret is the broker's, and so is the flow; the grant goes through the spool to credmond. */
export function brokerWay(context: LoginContext): Way {
  const { config, provider, handle, scopes, audience, clock, stop } = context;
  const place: Place = { kind: 'condor', by: 'spool' };

  async function* login(): AsyncGenerator<LoginState, void, undefined> {
    const states = brokerLogin({
      ...config.broker,
      stop,
      clock,
      again: () => context.again(),
      request: {
        provider: provider.name,
        ...(handle !== undefined && { handle }),
        ...(scopes && { scopes }),
        ...(audience !== undefined && { audience }),
      },
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
        const who = value.who === undefined ? {} : { who: value.who };
        yield { at: 'waiting', ask: value.ask, ...who, place, what: 'credmond to take the login over' };
        const taken = await until(() => takenOver(context, grant), { clock, limit: patience, stop });
        if (taken === undefined) {
          yield {
            ...value,
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
        yield { ...value, ...timesOf(healthOf(context)) };
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
  const { provider, handle, scopes, audience, env, clock, stop } = context;
  const ask = askOf(context, issuerOf(provider));
  const place: Place = { kind: 'condor', by: 'credd' };
  const credd = creddStore({ env });
  const id = { service: provider.name, ...(handle !== undefined && { handle }) };

  async function* keep(token: TokenSet): AsyncGenerator<LoginState, void, undefined> {
    const who = token.subject === undefined ? {} : { who: token.subject.name };
    yield { at: 'storing', ask, ...who, place };
    const begun = clock.now();
    const grant = {
      refreshToken: token.refreshToken ?? '',
      ...(scopes && { scopes }),
      ...(audience !== undefined && { audience }),
    };
    await credd.save(id, grant, stop);
    yield { at: 'waiting', ask, ...who, place, what: 'credmond to fetch the first token' };
    const health = await until(() => settledSince(healthOf(context), begun), { clock, limit: patience, stop });
    if (health?.trouble)
      throw new Failed({
        ...health.trouble,
        what: `stored, but the first token could not be fetched: ${health.trouble.what}`,
      });
    const lost = notGranted(ask.scopes, token.scopes);
    const silent = { note: 'HTCondor has it, but credmond has not told of a first token yet. See: credmon status' };
    yield { at: 'done', ask, ...who, place, missing: lost, ...(health ? timesOf(health) : silent) };
  }

  return {
    login: () => directLogin(context, keep),
    async present() {
      const known = present(context, place);
      if (known || scopes || audience !== undefined) return known;
      return (await credd.query(id, {}, stop)) === 'ready' ? { at: 'kept', ask, place } : undefined;
    },
  };
}

function takenOver({ config }: LoginContext, grant: string | undefined): Settled | undefined {
  return mine(config.statusDir)?.settled?.find(({ id }) => id === grant);
}

function healthOf({ config, provider, handle }: LoginContext): Health | undefined {
  return mine(config.statusDir)?.credentials.find(
    (health) => health.service === provider.name && health.handle === handle,
  );
}

const mine = (dir: string) => readMine(dir, process.getuid?.() ?? -1);

/** A token fetched after `begun`, or why there will be none. What may pass is waited out: credmond tries again. */
function settledSince(health: Health | undefined, begun: EpochMs): Health | undefined {
  if (health?.state === 'fresh' && health.life && health.life.issued >= begun) return health;
  return health?.trouble && health.trouble.kind !== 'transient' && health.since >= begun ? health : undefined;
}

function timesOf(health: Health | undefined): { expires?: EpochMs; refresh?: EpochMs } {
  return {
    ...(health?.life && { expires: health.life.expires }),
    ...(health?.due !== undefined && { refresh: health.due }),
  };
}

function present(context: LoginContext, place: Place): Extract<LoginState, { at: 'kept' }> | undefined {
  const health = healthOf(context);
  if (health === undefined || health.state === 'login-needed' || health.state === 'damaged') return undefined;
  if (context.scopes && !sameScopes(context.scopes, health.scopes ?? [])) return undefined;
  if (context.audience !== undefined && context.audience !== health.audience) return undefined;
  const ask = askOf(context, issuerOf(context.provider));
  return { at: 'kept', ask, place, ...(health.life && { expires: health.life.expires }) };
}
