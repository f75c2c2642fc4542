import { failureOf } from '../core/failure.js';
import { parseRequest } from '../core/request.js';
import { epochMs } from '../core/time.js';
import { version } from '../system/version.js';
import { isPlainlyWell, lookUp } from './quick.js';
import { say, tell } from './say.js';

const usage = `Usage: credmon-storer SERVICE[&handle=NAME][&scopes=A,B][&audience=WHOM] ...

What condor_submit calls (SEC_CREDENTIAL_STORER): exit 0 when the credentials that the job asks for are there.
`;

async function main(argv: readonly string[]): Promise<number> {
  if (argv[0] === '--version') return print(`credmon-storer ${version()}\n`);
  if (argv.length === 0 || argv[0] === '--help' || argv[0] === '-h') return print(usage);
  const requests = argv.map(parseRequest);
  const uid = process.getuid?.() ?? -1;
  const now = epochMs(Date.now());
  const told = lookUp(uid, now);
  if (told && isPlainlyWell(requests, told, now)) return 0;
  // Loaded when there is something to do: every submit waits for us, and mostly there is not.
  return (await import('./work.js')).work(requests, uid, told);
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (thrown) => {
    const failure = failureOf(thrown);
    if (failure) tell(failure);
    else say('error', `this is a fault of credmon's own: ${(thrown as Error)?.stack ?? thrown}`);
    process.exitCode = 1;
  },
);
