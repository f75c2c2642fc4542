import type { Command } from 'commander';

export function register(command: Command): void {
  command
    .argument('[provider]', 'the provider; none: the default or only one')
    .option('--handle <name>', 'the login that was made with this --handle')
    .action(async (provider: string | undefined, { handle }: { handle?: string }, self: Command) => {
      const { runLogout } = await import('./logout/run.js');
      const { config } = self.optsWithGlobals();
      process.exitCode = await runLogout({
        ...(provider !== undefined && { provider }),
        ...(handle !== undefined && { handle }),
        ...(config !== undefined && { config }),
      });
    });
}
