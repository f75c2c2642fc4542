import { type Command, Option } from 'commander';

export function register(command: Command): void {
  command
    .option('--apply', 'do it, keeping what it takes to undo it; only root can', false)
    .addOption(new Option('--undo', 'put back what was there before').default(false).conflicts(['apply', 'force']))
    .option(
      '--force',
      'with --apply: even where something would be lost, or believed that others could have put there',
      false,
    )
    .option('--json', 'one JSON object, for programs', false)
    .action(async (options) => {
      const { runMigrate } = await import('./migrate/run.js');
      process.exitCode = await runMigrate(options);
    });
}
