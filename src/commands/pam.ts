import { type Command, Option } from 'commander';

const several = (value: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  ...value.split(',').filter((one) => one !== ''),
];

export function register(command: Command): void {
  command
    .command('install')
    .description('have sshd ask the broker: shows what it would change, and asks before it does')
    .addOption(
      new Option(
        '--mode <mode>',
        'login: the login by device is the login; seed: it brings a credential along (login)',
      ).choices(['login', 'seed']),
    )
    .addOption(new Option('--after <factor>', 'with --mode seed: after which factor').choices(['key', 'password']))
    .option('--except-group <group>', 'its members get in by key alone; may be repeated', several)
    .option('--no-except', 'even where root or you yourself may lose the only way in over ssh')
    .addOption(
      new Option(
        '--prompt <when>',
        'always: all text is in the prompt (one Enter); never: it is shown at once (by the version of sshd)',
      ).choices(['always', 'never']),
    )
    .option('--no-hook', 'leave the login hook (/etc/profile.d) out')
    .option('--dry-run', 'show the differences and change nothing', false)
    .option('--yes', 'do not ask', false)
    .option('--reload', 'have sshd read its files afterwards', false)
    .option('--sshd-config <file>', 'instead of /etc/ssh/sshd_config')
    .option('--service <name>', 'by which sshd calls PAM')
    .option('--root <dir>', 'a machine that is being put together in this folder')
    .action(async (options, self: Command) => {
      const { runInstall } = await import('./pam/run.js');
      process.exitCode = await runInstall({ ...options, ...general(self) });
    });
  command
    .command('uninstall')
    .description('put everything back, byte for byte')
    .option('--dry-run', 'show the differences and change nothing', false)
    .option('--force', 'also files that have been changed since: those changes are lost', false)
    .option('--yes', 'do not ask', false)
    .option('--reload', 'have sshd read its files afterwards', false)
    .option('--root <dir>', 'a machine that is being put together in this folder')
    .action(async (options) => {
      const { runUninstall } = await import('./pam/run.js');
      process.exitCode = await runUninstall(options);
    });
  command
    .command('status')
    .description('what is installed, and whether it is as it should be')
    .option('--json', 'one JSON object, for programs', false)
    .option('--root <dir>', 'a machine that is being put together in this folder')
    .action(async (options, self: Command) => {
      const { runPamStatus } = await import('./pam/status.js');
      process.exitCode = await runPamStatus({ ...options, ...general(self) });
    });
}

function general(self: Command): { readonly config?: string } {
  const { config } = self.optsWithGlobals();
  return config === undefined ? {} : { config };
}
