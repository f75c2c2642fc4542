import { Failed } from '../core/failure.js';
import { explainName, nameTrouble, nearest, parseStem, stem } from '../core/names.js';
import { findProvider, type Provider } from '../core/provider.js';
import { badScope, type Scopes } from '../core/scopes.js';
import { plain } from '../core/text.js';
import type { ClientRecord } from './records.js';

type Request = Extract<ClientRecord, { kind: 'login' | 'logout' }>;

/** What a client asks for, with every name in it checked. */
export interface Order {
  readonly provider: Provider;
  readonly handle?: string;
  /** Only if the person asked for some. */
  readonly scopes?: Scopes;
  readonly audience?: string;
}

/** All scopes together: a state repeats them, and has to fit into a line. */
const longestScopes = 4096;

/** Nothing that a client sends names a file, another client or another user. Throws Failed('config' or 'usage'). */
export function orderOf(request: Request, providers: ReadonlyMap<string, Provider>): Order {
  const provider = findProvider(providers, request.provider);
  if (provider === undefined) throw unknown(request.provider, providers);
  const { handle } = request;
  if (handle !== undefined) checkHandle(provider, handle, providers);
  if (request.kind === 'logout') return { provider, ...(handle !== undefined && { handle }) };
  const { scopes, audience } = request;
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
    provider,
    ...(handle !== undefined && { handle }),
    ...(scopes !== undefined && scopes.length > 0 && { scopes }),
    ...(audience !== undefined && { audience }),
  };
}

/**
 * `dune` with the handle `production` would be the file of the provider `dune_production`, and one issuer's refresh token
 * would be sent to another issuer. So a name must read back as what it was made of.
 */
function checkHandle(provider: Provider, handle: string, providers: ReadonlyMap<string, Provider>): void {
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
