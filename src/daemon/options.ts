import { parseArgs } from 'node:util';
import { Failed } from '../core/failure.js';

/** What credmond is told on its command line; the letters are those of HTCondor's own credmon. */
export interface DaemonOptions {
  readonly credDir?: string;
  readonly name: string;
  readonly logFile?: string;
  readonly debug: boolean;
  readonly verbose: boolean;
  readonly config?: string;
  readonly once: boolean;
  readonly user: boolean;
  readonly help: boolean;
  readonly version: boolean;
}

export const usage = `Usage: credmond [options]

Keeps the OAuth2 access tokens of HTCondor jobs fresh. Started by condor_master as CREDMON_OAUTH, or by hand.

  -c, --cred-dir DIR   credential directory (default: SEC_CREDENTIAL_DIRECTORY_OAUTH)
  -n, --name NAME      daemon name, which its log's knobs begin with (default: CREDMON_OAUTH)
  -l, --log-file FILE  log file (default: <NAME>_LOG, else standard error)
  -d, --debug          also log what is only of use to find a fault
  -v, --verbose        also log to standard error
      --config FILE    a TOML file instead of HTCondor's configuration
      --once           look at everything once, refresh what is due, exit 0; 1 if anything could not be refreshed
      --user           keep your own tokens fresh (those of \`credmon login\` on a machine without HTCondor)
      --version
  -h, --help
`;

/** Throws Failed('usage'). */
export function parseOptions(argv: readonly string[]): DaemonOptions {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        'cred-dir': { type: 'string', short: 'c' },
        name: { type: 'string', short: 'n', default: 'CREDMON_OAUTH' },
        'log-file': { type: 'string', short: 'l' },
        debug: { type: 'boolean', short: 'd', default: false },
        verbose: { type: 'boolean', short: 'v', default: false },
        config: { type: 'string' },
        once: { type: 'boolean', default: false },
        user: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
        version: { type: 'boolean', default: false },
      },
    });
    const name = values.name.toUpperCase();
    if (!/^[A-Z][A-Z0-9_.]*$/.test(name)) throw new TypeError(`--name ${values.name}: not a daemon's name`);
    return {
      name,
      debug: values.debug,
      verbose: values.verbose,
      once: values.once,
      user: values.user,
      help: values.help,
      version: values.version,
      ...(values['cred-dir'] !== undefined && { credDir: values['cred-dir'] }),
      ...(values['log-file'] !== undefined && { logFile: values['log-file'] }),
      ...(values.config !== undefined && { config: values.config }),
    };
  } catch (thrown) {
    if (!(thrown instanceof TypeError)) throw thrown;
    throw new Failed({
      kind: 'usage',
      what: thrown.message.split('\n')[0] ?? 'wrong options',
      hint: 'see: credmond --help',
    });
  }
}
