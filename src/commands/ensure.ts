import type { Command } from 'commander';
import { wholeSeconds } from './numbers.js';
import { more } from './repeatable.js';

export function register(command: Command): void {
  command
    .argument('[services...]', 'services, as a submit file names them; none: the default or only provider')
    .option('--submit <file>', 'what this submit file asks for; may be repeated', more, [])
    .option('--dag <file>', 'what the nodes of this DAG ask for; may be repeated', more, [])
    .option('--min-remaining <seconds>', 'tokens and logins must last so long', wholeSeconds)
    .option('--json', 'one JSON object, for programs', false)
    .action(async (services: string[], options, self: Command) => {
      const { runEnsure } = await import('./ensure/run.js');
      const { config } = self.optsWithGlobals();
      process.exitCode = await runEnsure({ ...options, services, ...(config !== undefined && { config }) });
    });
}
