import { appendFileSync, chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/*
 * What all suites of a run make, and which secrets were in play, kept side by side in one folder, so that when the run is
 * over one grep over the first for the second tells whether any token, code or secret has got out (see overhear.ts for who
 * listens, and grep.ts for the end). Processes of tests that are no vitest workers, such as issuers of their own, inherit
 * the folder's name and use this too.
 */

const folder = 'CREDMON_TEST_OVERHEARD';

/** What one would recognise of a secret, at either end of it: characters. Shorter ones are no secrets. */
const enough = 16;

/**
 * A log, a status file or the like, where no code to be typed has any business either; what people are shown; or a core
 * dump, which nothing should have left.
 */
type Kind = 'log' | 'screen' | 'core';

const append = (file: string, text: string): void => {
  const dir = process.env[folder];
  // Nobody listens: a test by itself, or a benchmark. Some tests are another account for a while.
  if (dir !== undefined) appendFileSync(join(dir, `${file}.${process.pid}.${process.geteuid?.()}`), text);
};

/** A token, device code or client secret: whatever is made from now on must not hold it. */
export function remember(secret: string): string {
  if (secret.length >= enough && !/[\r\n]/.test(secret)) append('secrets', `${secret}\n`);
  return secret;
}

/** A code that people type: they are shown it, and no log is. */
export function rememberCode(code: string): string {
  if (/^[A-Z]{4}-[A-Z]{4}$/.test(code)) append('codes', `${code}\n`);
  return code;
}

const members =
  /"(?:access_token|refresh_token|id_token|device_code|subject_token|vault_token|client_token|mytoken|client_secret|auth_code)"\s*:\s*"([^"\\]+)"/g;

/** All that is secret in an answer or a form of OAuth. */
export function rememberIn(text: string): void {
  for (const [, secret = ''] of text.matchAll(members)) remember(secret);
  for (const [, code = ''] of text.matchAll(/"user_code"\s*:\s*"([^"\\]+)"/g)) rememberCode(code);
  for (const [, secret = ''] of text.matchAll(
    /(?:^|&)(?:refresh_token|device_code|client_secret|subject_token)=([^&\s]+)/g,
  ))
    remember(decodeURIComponent(secret));
}

/** Something that was made: a piece of a log, of a file, of what a program prints. */
export function hear(kind: Kind, source: string, text: string): void {
  if (text !== '') append(kind, `${JSON.stringify([source, text])}\n`);
}

export interface Overheard {
  readonly secrets: number;
  readonly pieces: number;
  readonly characters: number;
  /** `source: … the first characters of the secret`, each once. */
  readonly found: readonly string[];
}

/** Begins to listen; what is returned greps and ends that. */
export function listenIn(): (keep?: boolean) => Overheard {
  const dir = mkdtempSync(join(tmpdir(), 'credmon-overheard-'));
  chmodSync(dir, 0o1733);
  process.env[folder] = dir;
  return (keep = false) => {
    delete process.env[folder];
    const overheard = grep(dir);
    if (!keep) rmSync(dir, { recursive: true, force: true });
    return overheard;
  };
}

/** Both ends of a secret; of a JWT not its header, which all have in common. */
function endsOf(secret: string): string[] {
  const body = secret.startsWith('eyJ') ? (secret.split('.')[1] ?? secret) : secret;
  // `xxxxxxxxxxxxxxxx` of a test for long tokens is nothing that one would recognise.
  return [body.slice(0, enough), secret.slice(-enough)].filter(
    (end) => end.length === enough && new Set(end).size >= enough / 2,
  );
}

function grep(dir: string): Overheard {
  const lines = (kind: string) =>
    readdirSync(dir)
      .filter((name) => name.startsWith(`${kind}.`))
      .flatMap((name) => readFileSync(join(dir, name), 'utf8').split('\n').filter(Boolean));
  const secrets = new Set(lines('secrets'));
  const codes = new Set(lines('codes'));
  const ends = new Map<string, string>();
  for (const secret of secrets) for (const end of endsOf(secret)) ends.set(end, secret);
  const found = new Set<string>();
  let [pieces, characters] = [0, 0];
  for (const kind of ['log', 'screen'] as const) {
    for (const line of lines(kind)) {
      const [source, text] = JSON.parse(line) as [string, string];
      pieces++;
      characters += text.length;
      for (const [run] of text.matchAll(/[\x21-\x7E]{16,}/g)) {
        for (let at = 0; at + enough <= run.length; at++) {
          const secret = ends.get(run.slice(at, at + enough));
          if (secret !== undefined) found.add(`${source}: ${secret.slice(0, 12)}…`);
        }
      }
      if (kind === 'screen') continue;
      for (const [code] of text.matchAll(/\b[A-Z]{4}-[A-Z]{4}\b/g))
        if (codes.has(code)) found.add(`${source}: ${code}`);
    }
  }
  for (const line of lines('core')) found.add(JSON.parse(line).join(': '));
  return { secrets: secrets.size, pieces, characters, found: [...found] };
}
