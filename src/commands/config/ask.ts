import { createInterface } from 'node:readline/promises';
import { Failed, fail } from '../../core/failure.js';
import type { Answers } from './drop-in.js';

export interface Streams {
  readonly input: NodeJS.ReadableStream;
  readonly output: NodeJS.WritableStream;
}

/** What has to be known, and how it is asked for. An empty answer to the last two means: none. */
const questions = [
  ['provider', '--provider', 'Name of the provider, which users write into use_oauth_services', true],
  ['issuer', '--issuer', 'Issuer (https://…)', true],
  ['clientId', '--client-id', 'Client ID', true],
  ['clientSecretFile', '--client-secret-file', 'File with the client secret (empty: a public client)', false],
  ['scope', '--scope', 'Scopes, as in: openid storage.read:/ (empty: decide later)', false],
] as const;

/** Fills in what the options do not say. Without a terminal (`streams` undefined) it throws Failed('usage') with what lacks. */
export async function complete(given: Partial<Answers>, streams: Streams | undefined): Promise<Answers> {
  const open = questions.filter(([key]) => given[key] === undefined);
  const needed = open.filter(([, , , required]) => required);
  if (needed.length === 0) return given as Answers;
  if (streams === undefined)
    fail(
      'usage',
      `not given: ${needed.map(([, option]) => option).join(', ')}`,
      'there is no terminal to ask on: see credmon config init --help',
    );
  const reader = createInterface(streams);
  const ended = new AbortController();
  reader.once('close', () => ended.abort());
  const answers: Record<string, unknown> = { ...given };
  try {
    for (const [key, , question, required] of open) {
      let answer = '';
      do answer = (await reader.question(`${question}: `, { signal: ended.signal })).trim();
      while (required && answer === '');
      if (answer !== '') answers[key] = answer;
    }
  } catch (thrown) {
    if (!ended.signal.aborted) throw thrown;
    throw new Failed({ kind: 'cancelled', what: 'given up: nothing was written' }, { cause: thrown });
  } finally {
    reader.close();
  }
  return answers as unknown as Answers;
}
