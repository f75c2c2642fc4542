import { mayBeAsked } from '../core/endpoint.js';
import { Failed } from '../core/failure.js';
import type { Clock, Http, Issuer, OtherClient } from '../core/ports.js';
import { issuerOf, type Provider } from '../core/provider.js';

type Closable = Issuer & { readonly http: Http; close(): Promise<void> };

/** No refresh takes this long: milliseconds. */
const usedStill = 5 * 60_000;

export interface IssuersParts {
  open(provider: Provider, secret: string | undefined): Promise<Closable>;
  /** The client secret in that file. Throws Failed. */
  secret(file: string): Promise<string>;
  readonly clock: Pick<Clock, 'after'>;
}

/** The issuers in use: one for each provider, and one for each other client that credentials were made with. */
export class Issuers {
  readonly #open = new Map<string, Promise<Closable>>();

  constructor(private readonly parts: IssuersParts) {}

  /** Throws Failed. What failed is tried again the next time. */
  get(provider: Provider, client?: OtherClient): Promise<Closable> {
    const foreign = client !== undefined && client.clientId !== provider.clientId ? client : undefined;
    const name =
      foreign === undefined ? provider.name : `${provider.name}\n${foreign.clientId}\n${foreign.secret ?? ''}`;
    const known = this.#open.get(name);
    if (known) return known;
    const opened = this.#make(provider, foreign);
    this.#open.set(name, opened);
    opened.catch(() => this.#open.delete(name));
    return opened;
  }

  /**
   * The configuration is another one. Who has got an issuer goes on with it, so it must still take requests: condor_credd
   * sends a SIGHUP for every login that it stores, right when that login's first token is being fetched.
   */
  retire(): void {
    const all = this.#take();
    this.parts.clock.after(usedStill, () => void closeAll(all));
  }

  /** Closes them all, at the end. */
  async clear(): Promise<void> {
    await closeAll(this.#take());
  }

  #take(): readonly Promise<Closable>[] {
    const all = [...this.#open.values()];
    this.#open.clear();
    return all;
  }

  async #make(provider: Provider, foreign: OtherClient | undefined): Promise<Closable> {
    if (foreign === undefined) {
      const secret = provider.secretFile === undefined ? undefined : await this.parts.secret(provider.secretFile);
      return this.parts.open(provider, secret);
    }
    // What is stored with a credential never decides where a request goes: that is the configuration's alone.
    const { secretFile: _, ...rest } = provider;
    const { tokenUrl } = foreign;
    const ours = provider.tokenUrl ?? issuerOf(provider);
    if (tokenUrl !== undefined && hostOf(tokenUrl) !== hostOf(ours) && !mayBeAsked(provider, tokenUrl)) {
      throw new Failed({
        kind: 'config',
        what: `its .meta names a token endpoint that ${provider.name} has not got`,
        hint: `set ${provider.name}_TOKEN_URL to it if it is right, or log in again`,
      });
    }
    return this.parts.open({ ...rest, clientId: foreign.clientId }, foreign.secret);
  }
}

async function closeAll(all: readonly Promise<Closable>[]): Promise<void> {
  await Promise.all(all.map(async (opened) => (await opened.catch(() => undefined))?.close()));
}

function hostOf(url: string): string | undefined {
  try {
    return new URL(url).host;
  } catch {
    return undefined;
  }
}
