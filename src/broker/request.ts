import { Failed } from '../core/failure.js';
import { explainName, nameTrouble, nearest, parseStem, stem } from '../core/names.js';
import { findProvider, type Provider } from '../core/provider.js';
import { badScope, spaced } from '../core/scopes.js';
import { companionsOf, inAll, type Wish } from '../core/several.js';
import { plain } from '../core/text.js';
import type { ClientRecord } from './records.js';

type Request = Extract<ClientRecord, { kind: 'login' | 'logout' }>;
type Asked = Pick<Extract<ClientRecord, { kind: 'login' }>, 'handle' | 'scopes' | 'audience'>;

/** What a client asks for, with every name in it checked. Scopes and audiences only where the person asked for some. */
export interface Order extends Wish {
  readonly provider: Provider;
  /** What is to be made from the same login; never empty. */
  readonly also?: readonly Wish[];
}

/** All scopes together, in characters and in number: a state repeats them, and has to fit into a line. */
const longestScopes = 4096;
const mostScopes = 128;
/** Handles and audiences of all but the first, as JSON: for the same reason. */
const longestNames = 2560;

/** Nothing that a client sends names a file, another client or another user. Throws Failed('config' or 'usage'). */
export function orderOf(request: Request, providers: ReadonlyMap<string, Provider>): Order {
  const provider = findProvider(providers, request.provider);
  if (provider === undefined) throw unknown(request.provider, providers);
  if (request.kind === 'logout') return { provider, ...checkHandle(provider, request, providers) };
  const first = wishOf(request, provider, providers);
  const also = (request.also ?? []).map((one) => wishOf(one, provider, providers));
  if (also.length === 0) return { provider, ...first };
  const names = [first, ...also].map(({ handle = '' }) => handle);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) {
    throw refused(
      `${stem({ service: provider.name, ...(twice !== '' && { handle: twice }) })} is asked for twice in one login`,
      'give each a handle of its own',
    );
  }
  const together = inAll([first, ...also], provider);
  if (together.length > mostScopes || spaced(together).length > longestScopes) {
    throw refused(
      `the scopes of all together are more than ${mostScopes} or have more than ${longestScopes} characters`,
      'log in to some of them apart',
    );
  }
  if (JSON.stringify(companionsOf(also)).length > longestNames) {
    throw refused('the handles and audiences are too long for one login', 'log in to some of them apart');
  }
  return { provider, ...first, also };
}

/** One of the credentials that are asked for. */
function wishOf(asked: Asked, provider: Provider, providers: ReadonlyMap<string, Provider>): Wish {
  const named = checkHandle(provider, asked, providers);
  const { scopes, audience } = asked;
  const bad = badScope(scopes ?? []);
  if (bad !== undefined) {
    throw refused(
      `"${plain(bad, 60)}" is no scope: it holds characters that RFC 6749 does not admit`,
      'check the scopes that were asked for',
    );
  }
  if ((scopes?.join(' ').length ?? 0) > longestScopes) {
    throw refused(`the scopes have more than ${longestScopes} characters in all`, 'ask for fewer scopes');
  }
  if (audience !== undefined && !/^[\x20-\x7E]+$/.test(audience)) {
    throw refused('the audience holds characters that are not printable ASCII', 'check what follows --audience');
  }
  return {
    ...named,
    ...(scopes !== undefined && scopes.length > 0 && { scopes }),
    ...(audience !== undefined && { audience }),
  };
}

/**
 * `dune` with the handle `production` would be the file of the provider `dune_production`, and one issuer's refresh token
 * would be sent to another issuer. So a name must read back as what it was made of.
 */
function checkHandle(
  provider: Provider,
  { handle }: Pick<Asked, 'handle'>,
  providers: ReadonlyMap<string, Provider>,
): Pick<Wish, 'handle'> {
  if (handle === undefined) return {};
  const trouble = nameTrouble(handle);
  if (trouble !== undefined) {
    throw refused(`"${plain(handle, 60)}" cannot be a handle: ${explainName(trouble)}`, 'choose another handle');
  }
  const read = parseStem(stem({ service: provider.name, handle }), providers.keys());
  if (read?.provider !== provider.name || read.handle !== handle) {
    throw refused(
      `the handle "${handle}" of ${provider.name} would be taken for the provider ${read?.provider ?? 'of another name'}`,
      'choose another handle',
    );
  }
  return { handle };
}

function unknown(name: string, providers: ReadonlyMap<string, Provider>): Failed {
  const near = nearest(name.slice(0, 128), providers.keys());
  const all = plain([...providers.keys()].join(', '), 300) || 'none';
  return new Failed({
    kind: 'config',
    what: `the broker knows no provider "${plain(name, 60)}"`,
    hint: near === undefined ? `there is: ${all}` : `did you mean ${near}? There is: ${all}`,
  });
}

const refused = (what: string, hint: string): Failed => new Failed({ kind: 'usage', what, hint });
