import { bearerOf } from '../../core/config.js';
import type { TokenSet } from '../../core/credential.js';
import { dueAt, spreadOf } from '../../core/due.js';
import type { LoginState } from '../../core/login.js';
import { judge } from '../../core/match.js';
import { keyOf, stem } from '../../core/names.js';
import type { Kept } from '../../core/ports.js';
import { notGranted } from '../../core/scopes.js';
import { healthOfKept } from '../../status/kept.js';
import { writeBearer } from '../../stores/bearer.js';
import { stores } from '../../stores/index.js';
import { openPersonalStore } from '../../stores/personal.js';
import { stateDir } from '../../stores/state.js';
import { lockFolder } from '../../system/lock.js';
import { askOf, type LoginContext } from './context.js';
import { directLogin } from './direct.js';
import type { Way } from './way.js';

/** Into the person's own store: the keyring if one answers, else a file. */
export function ownWay(context: LoginContext, choice: 'auto' | 'keyring' | 'file'): Way {
  const { config, provider, handle, env } = context;
  const id = stem({ service: provider.name, ...(handle !== undefined && { handle }) });
  const ask = askOf(context);

  async function* keep(token: TokenSet): AsyncGenerator<LoginState, void, undefined> {
    const store = await stores[choice](env);
    const { place } = store;
    const who = token.subject?.name;
    const whose = who === undefined ? {} : { who };
    yield { at: 'storing', ask, ...whose, place };
    const { refreshToken = '', ...access } = token;
    const kept: Kept = {
      provider: provider.name,
      grant: {
        refreshToken,
        ...(context.scopes && { scopes: context.scopes }),
        ...(context.audience !== undefined && { audience: context.audience }),
      },
      token: access,
      since: token.issued,
      ...whose,
      ...(handle !== undefined && { handle }),
    };
    await store.save(id, kept);
    const bearer = { env, ...bearerOf(config, { service: provider.name, ...(handle !== undefined && { handle }) }) };
    // The grant is safe already: a file for other programs that cannot be written is worth a word, not a failure.
    const note = await writeBearer(token.accessToken, bearer).then(
      () => undefined,
      (thrown) => `other programs will not find the token: ${(thrown as Error).message}`,
    );
    yield {
      at: 'done',
      ask,
      ...whose,
      place,
      missing: notGranted(ask.scopes, token.scopes),
      expires: token.expires,
      refresh: dueAt(token, config.minimum, spreadOf(keyOf({ user: '', service: id }))),
      ...(note !== undefined && { note }),
      ...(!(await isKept(stateDir(env))) && { keeper: 'credmond --user' }),
    };
  }

  return {
    login: () => directLogin(context, keep),
    async present() {
      const store = await openPersonalStore({ env, choice: 'stay' });
      const kept = await store.load(id).catch(() => undefined);
      const place = store.placeOf(id);
      if (kept === undefined || place === undefined) return undefined;
      const verdict = judge(context, healthOfKept(kept, '', provider), provider, context.clock.now());
      if (verdict.kind !== 'good' && verdict.kind !== 'ended' && verdict.kind !== 'pending') return undefined;
      return { at: 'kept', ask, place, ...(kept.token && { expires: kept.token.expires }) };
    },
  };
}

/** Whether a credmond --user is at work: it holds the lock. */
async function isKept(dir: string): Promise<boolean> {
  const release = await lockFolder(dir);
  release?.();
  return release === undefined;
}
