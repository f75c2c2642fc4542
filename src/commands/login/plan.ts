import { Failed } from '../../core/failure.js';
import type { Health } from '../../core/health.js';
import { canBeMadeFrom } from '../../core/match.js';
import { stem } from '../../core/names.js';
import type { Provider } from '../../core/provider.js';
import { loginWords } from '../../core/request.js';
import { mostAlso, type Wish } from '../../core/several.js';
import { wishOf } from './context.js';

/** What is to be done about several credentials of one provider. */
export interface Plan {
  /** There and good. */
  readonly kept: readonly Wish[];
  /** To be made from a login that is there, without an approval; `from`: its handle, '' for none. */
  readonly made: readonly { readonly wish: Wish; readonly from: string }[];
  /** One approval for all of these: the first keeps the refresh token, the others are made from it. */
  readonly login: readonly Wish[];
  /** Made from a login that this one replaces, and more than it can bring as well. */
  readonly left: readonly Wish[];
}

export interface Sight {
  readonly provider: Provider;
  /** Of the person's credentials of this provider. */
  readonly healths: readonly Health[];
  readonly isKept: (wish: Wish) => boolean;
  /** Whether anything can be made without an approval here. */
  readonly makes: boolean;
}

/** Throws Failed('usage') for more than one approval can bring. */
export function planFor(wishes: readonly Wish[], { provider, healths, isKept, makes }: Sight): Plan {
  const needed = wishes.filter((wish) => !isKept(wish));
  const madeFrom = ({ handle: name, ...wanted }: Wish): Health | undefined => {
    const there = healths.find(({ handle }) => handle === name);
    // A login is not given up for a part of another one, which would end with that.
    const isLogin = there?.origin === undefined && (there?.grant ?? 'refresh') === 'refresh';
    if (there && isLogin && (there.state === 'fresh' || there.state === 'retrying')) return undefined;
    // Whatever is made from it would end with it.
    if (!makes || (there && healths.some(({ origin }) => origin === nameOf(there)))) return undefined;
    return healths.find(
      (one) =>
        one.handle !== name &&
        canBeMadeFrom(one, wanted, provider) &&
        !needed.some(({ handle }) => handle === one.handle) &&
        // The issuer gave none from there before.
        !(there?.state === 'login-needed' && there.origin === nameOf(one)),
    );
  };
  const made = needed.flatMap((wish) => {
    const from = madeFrom(wish);
    return from ? [{ wish, from: nameOf(from) }] : [];
  });
  const asked = needed.filter((wish) => !made.some((one) => one.wish === wish));
  const first = asked.find(({ handle }) => handle === undefined) ?? asked[0];
  if (first === undefined) return { kept: wishes.filter(isKept), made, login: [], left: [] };
  if (asked.length > mostAlso + 1) {
    throw new Failed({
      kind: 'usage',
      what: `${asked.length} credentials of ${provider.name} are more than one login can bring (${mostAlso + 1})`,
      hint: 'log in to some of them apart',
    });
  }
  // A login in the place of another brings what is made from that one as well: else that would end.
  const replaced = new Set<string | undefined>(asked.map(({ handle = '' }) => handle));
  const hanging = healths
    .filter(({ origin, handle = '' }) => origin !== undefined && replaced.has(origin) && !replaced.has(handle))
    .filter(({ handle }) => !made.some(({ wish }) => wish.handle === handle))
    .map(wishOf);
  const room = mostAlso + 1 - asked.length;
  const brought = hanging.slice(0, room);
  return {
    kept: wishes.filter((wish) => isKept(wish) && !brought.some(({ handle }) => handle === wish.handle)),
    made,
    login: [first, ...asked.filter((wish) => wish !== first), ...brought],
    left: hanging.slice(room),
  };
}

/** What becomes of those that are left out, for the person: a line. */
export function leftInWords(left: readonly Wish[], { name }: Pick<Provider, 'name'>): string {
  const requests = left.map((wish) => ({ ...wishOf(wish), service: name }));
  const commands = requests.map((request) => loginWords(request, { force: true }));
  return `${requests.map(stem).join(', ')}: made from the login that this one replaces, which can bring no more than ${mostAlso + 1}; log in to them apart: ${commands.join(' && ')}`;
}

const nameOf = ({ handle = '' }: Health): string => handle;
