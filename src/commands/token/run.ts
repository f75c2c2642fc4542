import { Failed } from '../../core/failure.js';
import { quickToken } from '../../stores/quick.js';
import { checkNames } from '../names.js';

export interface TokenOptions {
  readonly providers: readonly string[];
  readonly handle?: string;
  readonly config?: string;
}

/** What must be left of a token for it to be of use: a minute, or of short-lived ones a third of the life. Milliseconds. */
const useful = ({ issued, expires }: { issued: number; expires: number }) => Math.min(60_000, (expires - issued) / 3);

/** Prints the access token of the person's own store, refreshed if it must be. Loads little when it need not be. */
export async function runToken({ providers, handle, config }: TokenOptions): Promise<number> {
  const [provider] = providers;
  if (providers.length > 1)
    throw new Failed({ kind: 'usage', what: 'one token at a time', hint: `run: credmon token ${provider}` });
  checkNames(provider, handle);
  const id = provider === undefined || handle === undefined ? provider : `${provider}_${handle}`;
  const found = await quickToken(process.env, id);
  const token = found?.kept.token;
  if (token && token.expires - Date.now() > useful(token)) {
    process.stdout.write(`${token.accessToken}\n`);
    return 0;
  }
  const { freshToken } = await import('./fresh.js');
  process.stdout.write(`${await freshToken(found?.id ?? id, config)}\n`);
  return 0;
}
