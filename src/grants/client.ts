import type { ClientGrant } from '../core/credential.js';
import { Failed, failureOf } from '../core/failure.js';
import type { Errand, Fetcher } from '../core/ports.js';
import type { Templates } from '../core/provider.js';
import { spaced } from '../core/scopes.js';
import { fillTemplates } from '../core/templates.js';
import { ofTheIssuer } from './again.js';

/**
 * RFC 6749 §4.4: a token of the client's own, for scopes that name the user. Whose it is tells the folder that the
 * credential lies in.
 */
export const client: Fetcher<ClientGrant> = async (_grant, errand) => {
  const { provider, id, stop } = errand;
  const scopes = provider.templates ? await scopesFor(provider.templates, errand) : provider.scopes;
  const issuer = await errand.issuer();
  const parameters = {
    ...(scopes.length > 0 && { scope: spaced(scopes) }),
    ...(provider.audience !== undefined && { audience: provider.audience.trim().replace(/\s+/g, ' ') }),
  };
  return issuer.token('client_credentials', parameters, { stop }).catch((thrown) => {
    throw inOurWords(thrown, id.user);
  });
};

async function scopesFor(templates: Templates, { id, provider, groups: lookUp, warn }: Errand) {
  const { user } = id;
  const wrong = (what: string, hint: string) => new Failed({ kind: 'config', what, hint });
  const knob = (name: string) => `CLIENT_CREDMON_${provider.name}_${name}`;
  const needsGroups = templates.group !== undefined || templates.requirement !== undefined;
  if (needsGroups && templates.mapFile === undefined)
    throw wrong(`the groups of ${user} are not to be had`, `set ${knob('AUTHZ_GROUP_MAPFILE')}`);
  const groups = needsGroups && templates.mapFile !== undefined ? await lookUp(templates.mapFile, user) : [];
  if (templates.requirement !== undefined && !groups.includes(templates.requirement)) {
    throw new Failed({
      kind: 'refused',
      what: `${user} is not in the group ${templates.requirement}, which alone gets tokens of ${provider.name}`,
      hint: `ask whoever keeps ${templates.mapFile}`,
      code: 'not_a_member',
    });
  }
  const filled = fillTemplates(templates, user, templates.group === undefined ? [] : groups);
  if (filled.trouble !== undefined)
    throw wrong(filled.trouble, `check ${knob('AUTHZ_TEMPLATE')} and ${knob('AUTHZ_GROUP_TEMPLATE')}`);
  for (const group of filled.strange)
    warn(`no scopes for the group ${JSON.stringify(group)}: no scope can hold its name`);
  return filled.scopes;
}

/** No login helps here: it is the client that the issuer refuses. */
function inOurWords(thrown: unknown, user: string): unknown {
  const failure = failureOf(thrown);
  if (failure === undefined || !ofTheIssuer.has(failure.kind)) return thrown;
  const hint =
    failure.code === 'invalid_client' && failure.hint !== undefined
      ? failure.hint
      : 'may the client have tokens of its own there (grant type client_credentials), and these scopes?';
  return new Failed(
    { ...failure, kind: 'refused', what: `no token for ${user}: ${failure.what}`, hint },
    { cause: thrown },
  );
}
