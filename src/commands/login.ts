import { type Command, Option } from 'commander';
import { storeChoices } from './login/choose.js';
import { wholeSeconds } from './numbers.js';
import { more } from './repeatable.js';

export function register(command: Command): void {
  command
    .argument('[providers...]', 'the providers to log in to; none: the default or only one')
    .option('--scope <scopes>', 'ask for these instead of the provider’s own (spaces or commas between them)')
    .option('--audience <audience>', 'ask for tokens for this audience')
    .option(
      '--request <words>',
      'what a job asks for: SERVICE[&handle=H][&scopes=A,B][&audience=X]; repeatable',
      more,
      [],
    )
    .option('--submit <file>', 'just what the jobs of this submit file ask for; repeatable', more, [])
    .option('--dag <file>', 'just what the jobs of this DAG ask for; repeatable', more, [])
    .option('--handle <name>', 'keep it apart from other logins to the same provider (HTCondor’s oauth handle)')
    .addOption(new Option('--store <where>', 'where the grant is kept').choices(storeChoices).default('auto'))
    .option('--timeout <seconds>', 'give up after so long', wholeSeconds)
    .option('--force', 'log in even where a good grant is there', false)
    .option('--if-needed', 'do and say nothing where a good grant is there', false)
    .option('--plain', 'a few lines of text instead of a screen', false)
    .option('--json', 'one JSON object a line, for programs', false)
    .action(async (providers: string[], options, self: Command) => {
      const { runLogin } = await import('./login/run.js');
      const { config } = self.optsWithGlobals();
      process.exitCode = await runLogin({ ...options, providers, ...(config !== undefined && { config }) });
    });
}
