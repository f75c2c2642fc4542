import { type AnyGrant, type GrantKind, kindOf } from '../core/credential.js';
import type { Fetcher } from '../core/ports.js';
import { client } from './client.js';
import { final } from './final.js';
import { inherited } from './inherited.js';
import { login } from './login.js';
import { mytoken } from './mytoken.js';
import { subject } from './pelican.js';
import { request } from './request.js';
import { vault } from './vault.js';

/** How each kind of grant becomes an access token. */
const fetchers: { readonly [K in GrantKind]: Fetcher<Extract<AnyGrant, { readonly kind?: K }>> } = {
  refresh: (grant, errand) => (errand.provider.flow === 'exchange' ? inherited : login)(grant, errand),
  request,
  subject,
  client,
  vault,
  mytoken,
  final,
};

/** An access token for a grant, whatever its kind. */
export const fetchToken: Fetcher = (grant, errand) => (fetchers[kindOf(grant)] as Fetcher)(grant, errand);
