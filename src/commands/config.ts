import { type Command, Option } from 'commander';
import { flows } from '../core/provider.js';
import { wholeSeconds } from './numbers.js';

export function register(command: Command): void {
  command
    .command('init')
    .description('print a commented configuration to start from; questions are asked on a terminal')
    .option('--htcondor', 'a file for HTCondor’s configuration (the only kind there is)', true)
    .option('--provider <name>', 'what users write into use_oauth_services')
    .option('--issuer <url>', 'the issuer, as it calls itself')
    .option('--client-id <id>', 'our client there')
    .option('--client-secret-file <file>', 'where its secret is; none: a public client')
    .option('--scope <scopes>', 'asked for at login (spaces or commas between them)')
    .option('--audience <audience>', 'asked for at login')
    .addOption(
      new Option('--flow <flow>', 'how tokens come about').choices(
        flows.filter((flow) => flow === 'device' || flow === 'exchange'),
      ),
    )
    .option('--allowed-scopes <scopes>', 'with --flow exchange: what users may ask for; {username} stands for each')
    .option('--device-url <url>', 'for an issuer that does not tell')
    .option('--token-url <url>', 'for an issuer that does not tell')
    .option('--ca-file <file>', 'PEM: the authorities to trust for this issuer')
    .option('--minimum <seconds>', 'what is left of a token, always', wholeSeconds)
    .option('--write <file>', 'write it there, where no file is yet, instead of printing it')
    .action(async (options) => {
      const { runInit } = await import('./config/init.js');
      process.exitCode = await runInit(options);
    });
}
