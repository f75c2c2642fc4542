import type { TokenSet } from '../../core/credential.js';
import type { Identity } from '../../core/identity.js';
import type { Provider } from '../../core/provider.js';

/** What an approval brought, without the person's tokens. */
export interface Approval {
  readonly provider: Provider;
  readonly identity: Identity;
}

/**
 * What an approval brought. It is in memory only, and several windows that were let in by one approval have one between them.
 * When the last who holds it lets go, it is forgotten. It is not revoked: some issuers end all that a person ever gave to the
 * client then (RFC 7009 §2.1 leaves it to them; Keycloak does), the credentials of running jobs among it.
 */
export class Harvest implements Approval {
  readonly provider: Provider;
  readonly identity: Identity;
  #token: TokenSet | undefined;
  #holders = 0;
  #stored: Promise<string> | undefined;

  constructor({ provider, identity }: Approval, token: TokenSet) {
    this.provider = provider;
    this.identity = identity;
    this.#token = token;
  }

  /** There is something that can be kept fresh. */
  get lasts(): boolean {
    return this.#stored !== undefined || this.#token?.refreshToken !== undefined;
  }

  /** What is returned lets go, however often it is called. */
  hold(): () => void {
    this.#holders++;
    let holding = true;
    return () => {
      if (!holding) return;
      holding = false;
      this.#holders--;
      if (this.#holders === 0) this.#token = undefined;
    };
  }

  /** Whoever comes first stores it; the others learn what became of that. One that failed may be tried again. */
  store(put: (token: TokenSet) => Promise<string>): Promise<string> {
    if (this.#stored) return this.#stored;
    const token = this.#token;
    if (token === undefined) throw new Error('nobody holds this any more');
    const stored = put(token);
    this.#stored = stored;
    stored.catch(() => {
      this.#stored = undefined;
    });
    return stored;
  }
}
