import type { Provider } from '../../src/core/provider.js';

/** One as people log in to, at an issuer that is called after it and is not there. */
export const provider = (name: string, more: Partial<Provider> = {}): Provider => ({
  name,
  issuer: `https://${name}.example`,
  clientId: 'client',
  scopes: [],
  flow: 'device',
  bare: false,
  ...more,
});
