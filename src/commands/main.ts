import { exitCode } from '../core/failure.js';
import { version } from '../system/version.js';
import { report } from './report.js';

const entries = [
  { name: 'login', summary: 'log in once; from then on jobs find a fresh token', load: () => import('./login.js') },
  {
    name: 'ensure',
    summary: 'whether what jobs need is there, asked before condor_submit asks',
    load: () => import('./ensure.js'),
  },
  { name: 'status', summary: 'how your credentials stand', load: () => import('./status.js') },
  { name: 'token', summary: 'print your access token', load: () => import('./token.js') },
  { name: 'logout', summary: 'revoke a grant at its issuer and remove it here', load: () => import('./logout.js') },
  { name: 'doctor', summary: 'whether everything is set up as it should be', load: () => import('./doctor.js') },
  { name: 'config', summary: 'help with the configuration', load: () => import('./config.js') },
  { name: 'pam', summary: 'ssh logins by device: have sshd ask, or not any more', load: () => import('./pam.js') },
  { name: 'migrate', summary: 'take over from another credmon, or undo that', load: () => import('./migrate.js') },
] as const;

async function main(argv: readonly string[]): Promise<number> {
  // The two that scripts call often come without the machinery that all the others need.
  if (argv[0] === '--version' || argv[0] === '-V') {
    process.stdout.write(`credmon ${version()}\n`);
    return 0;
  }
  if (argv[0] === 'token' && argv.slice(1).every((word) => !word.startsWith('-'))) {
    const { runToken } = await import('./token/run.js');
    return runToken({ providers: argv.slice(1) });
  }
  const { Command, CommanderError, Help } = await import('commander');
  const named = argv.find((word) => entries.some(({ name }) => name === word));
  const help = named === undefined ? 'credmon --help' : `credmon ${named} --help`;
  const program = new Command('credmon')
    .description('One login in the terminal, and every HTCondor job finds a fresh OAuth2 token from then on.')
    .option('--config <file>', 'a TOML file instead of HTCondor’s configuration or your own')
    .version(`credmon ${version()}`, '-V, --version')
    .showSuggestionAfterError()
    .configureOutput({ outputError: (text, write) => write(inOurWords(text, help)) })
    .configureHelp({
      showGlobalOptions: true,
      // That a switch is off, and a list empty, goes without saying.
      optionDescription(option) {
        const { defaultValue, description } = option;
        const plain = defaultValue === false || (Array.isArray(defaultValue) && defaultValue.length === 0);
        return plain ? description : Help.prototype.optionDescription.call(this, option);
      },
    })
    .exitOverride();
  for (const { name, summary, load } of entries) {
    const command = program.command(name).description(summary);
    if (argv.includes(name)) (await load()).register(command.exitOverride().copyInheritedSettings(program));
  }
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) throw thrown;
    // Help that was asked for ends well; everything else that commander throws is about the words it was given.
    return thrown.exitCode === 0 ? 0 : 64;
  }
}

/** What commander finds wrong, in the form of all our messages; its guess what was meant is the hint. */
function inOurWords(text: string, help: string): string {
  const [what = '', guess] = text
    .replace(/^error: /, '')
    .trimEnd()
    .split('\n');
  const hint = guess?.replace(/^\(D(.*)\)$/, 'd$1') ?? `see: ${help}`;
  return `credmon: error: ${what}\ncredmon: hint: ${hint}\n`;
}

// Whoever read has gone (`credmon … | head`): what else there is to do would be without their knowledge.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EIO' && process.stdout.isTTY) hungUp();
  if (error.code !== 'EPIPE') throw error;
  process.exit(exitCode({ kind: 'storage' }));
});

/**
 * The terminal has gone. Any way out of Node's own would set its modes, and abort with a core dump when that fails (ResetStdio in
 * 20.20), so this is the end of whoever does not listen.
 */
function hungUp(): void {
  process.removeAllListeners('SIGHUP');
  process.kill(process.pid, 'SIGHUP');
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (thrown) => {
    process.exitCode = report(thrown);
  },
);
