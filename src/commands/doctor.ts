import type { Command } from 'commander';

export function register(command: Command): void {
  command
    .argument('[services...]', 'services of submit files to look at as well: NAME, NAME_HANDLE or NAME&handle=HANDLE')
    .option('--json', 'one JSON object, for programs', false)
    .action(async (services: string[], options: { json: boolean }, self: Command) => {
      const { runDoctor } = await import('./doctor/run.js');
      const { config } = self.optsWithGlobals();
      process.exitCode = await runDoctor({ ...options, services, ...(config !== undefined && { config }) });
    });
}
