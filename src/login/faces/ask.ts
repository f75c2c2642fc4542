import { createInterface } from 'node:readline/promises';

/** Puts a yes-or-no question on a terminal; Enter means yes. False when `stop` is aborted or the input ends. */
export async function askYesNo(
  question: string,
  stop: AbortSignal,
  streams: { readonly input: NodeJS.ReadableStream; readonly output: NodeJS.WritableStream },
): Promise<boolean> {
  const reader = createInterface(streams);
  const ended = new AbortController();
  reader.once('close', () => ended.abort());
  try {
    const answer = await reader.question(`${question} [Y/n] `, { signal: AbortSignal.any([stop, ended.signal]) });
    return /^\s*(?:y(?:es)?)?\s*$/i.test(answer);
  } catch (thrown) {
    if (stop.aborted || ended.signal.aborted) return false;
    throw thrown;
  } finally {
    reader.close();
  }
}
