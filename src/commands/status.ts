import type { Command } from 'commander';

export function register(command: Command): void {
  command
    .option('--json', 'one JSON object, for programs', false)
    .option('--watch', 'stay, and show what changes', false)
    .action(async (options: { json: boolean; watch: boolean }, self: Command) => {
      const { runStatus } = await import('./status/run.js');
      const { config } = self.optsWithGlobals();
      process.exitCode = await runStatus({ ...options, ...(config !== undefined && { config }) });
    });
}
