import type { LoginState } from '../../core/login.js';
import type { Provider } from '../../core/provider.js';
import type { Wish } from '../../core/several.js';
import { type StoreChoice, waysFor } from './choose.js';
import type { LoginContext, LoginTools } from './context.js';
import { leftInWords, planFor } from './plan.js';
import { healthsOf } from './tokens.js';
import type { Kept } from './way.js';

/** What is asked for of one provider; never empty. */
export interface Group {
  readonly provider: Provider;
  readonly wishes: readonly Wish[];
}

/** One thing to show: what is there already, or a login. */
export type Step =
  | { readonly kept: Kept; readonly login?: never; readonly left?: never }
  | {
      readonly login: () => AsyncIterable<LoginState>;
      readonly kept?: never;
      /** What is to be said before it: that it cannot bring everything. */
      readonly left?: string;
    };

/** What there is to do for one provider. `force`: whatever is there. */
export async function stepsFor(
  { provider, wishes }: Group,
  tools: LoginTools,
  { store, force }: { readonly store: StoreChoice; readonly force: boolean },
): Promise<readonly Step[]> {
  const { open, madeFrom, together } = await waysFor(tools.config, provider, store);
  const contextOf = (wish: Wish): LoginContext => ({ ...tools, provider, ...wish });
  const there = new Map<Wish, Kept>();
  for (const wish of wishes) {
    const kept = force ? undefined : await open(contextOf(wish)).present();
    if (kept) there.set(wish, kept);
  }
  const step = (wish: Wish): Step => {
    const kept = there.get(wish);
    return kept ? { kept } : { login: () => open(contextOf(wish)).login() };
  };
  if (!together || there.size === wishes.length) return wishes.map(step);

  const plan = planFor(wishes, {
    provider,
    healths: healthsOf({ ...tools, provider }),
    isKept: (wish) => there.has(wish),
    makes: madeFrom !== undefined && !force,
  });
  const [first, ...also] = plan.login;
  const context = first && { ...contextOf(first), ...(also.length > 0 && { also }) };
  const left = plan.left.length === 0 ? {} : { left: leftInWords(plan.left, provider) };
  return [
    ...plan.kept.map(step),
    ...(context ? [{ login: () => open(context).login(), ...left }] : []),
    ...plan.made.flatMap(({ wish, from }) => (madeFrom ? [{ login: () => madeFrom(contextOf(wish), from) }] : [])),
  ];
}
