import type { Command } from 'commander';

export function register(command: Command): void {
  command
    .argument('[provider]', 'the provider; none: the only one you are logged in to')
    .option('--handle <name>', 'the login that was made with this --handle')
    .action(async (provider: string | undefined, { handle }: { handle?: string }, self: Command) => {
      const { runToken } = await import('./token/run.js');
      const { config } = self.optsWithGlobals();
      const providers = provider === undefined ? [] : [provider];
      process.exitCode = await runToken({
        providers,
        ...(handle !== undefined && { handle }),
        ...(config !== undefined && { config }),
      });
    });
}
