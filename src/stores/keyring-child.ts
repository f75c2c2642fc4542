/**
 * Talks to the keyring in a process of its own, since a Secret Service that hangs blocks every call for 50 s and with it
 * Node's thread pool. Requests come as JSON lines on stdin, answers go as JSON lines to stdout, one after the other.
 */
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

export type Request = { readonly n: number; readonly account: string } & (
  | { readonly op: 'get' | 'delete' }
  | { readonly op: 'set'; readonly value: string }
);

/** `value`: of get, the secret or null; of delete, whether there was one. */
export type Answer = { readonly n: number } & (
  | { readonly ok: true; readonly value: string | boolean | null }
  | { readonly ok: false; readonly code?: string; readonly message: string }
);

/** Of keytar, what is used of it. It is an optional dependency, so its own types may be absent. */
interface Keytar {
  getPassword(service: string, account: string): Promise<string | null>;
  setPassword(service: string, account: string, password: string): Promise<void>;
  deletePassword(service: string, account: string): Promise<boolean>;
}

const service = 'credmon';
let keytar: Keytar | undefined;

async function act(request: Request): Promise<string | boolean | null> {
  keytar ??= createRequire(import.meta.url)('keytar') as Keytar;
  switch (request.op) {
    case 'get':
      return keytar.getPassword(service, request.account);
    case 'delete':
      return keytar.deletePassword(service, request.account);
    case 'set':
      await keytar.setPassword(service, request.account, request.value);
      return null;
  }
}

async function answer(request: Request): Promise<Answer> {
  try {
    return { n: request.n, ok: true, value: await act(request) };
  } catch (thrown) {
    const { code, message } = thrown as NodeJS.ErrnoException;
    return { n: request.n, ok: false, message: String(message), ...(code !== undefined && { code }) };
  }
}

// A terminal's Ctrl-C goes to the parent as well, which knows what to do.
process.on('SIGINT', () => {});

createInterface({ input: process.stdin })
  .on('line', async (line) => process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line) as Request))}\n`))
  // The parent is done or dead. An ordinary exit would wait for a call that hangs.
  .on('close', () => process.kill(process.pid, 'SIGKILL'));
