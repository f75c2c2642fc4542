import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { publicClient } from '../helpers/issuer.js';
import { programs } from '../helpers/programs.js';
import { issuerFor } from '../programs/kit.js';
import { machine, withShell } from './kit.js';
import { type Shell, shells } from './shells.js';

/** Alice at a machine of her own, whose login is over. */
async function alice(approves: boolean) {
  const issuer = await issuerFor({ approves });
  const m = machine();
  m.stands('1 login 0 1\ndemo: login needed\ncredmon login demo\n\n');
  m.credmon(`exec '${process.execPath}' '${join(programs, 'bin', 'credmon.js')}' "$@"`);
  m.put('credmon.toml', `[providers.demo]\nissuer = "${issuer.url}"\nclient_id = "${publicClient.client_id}"\n`);
  m.put('home/.local/state/none', '');
  const env = { CREDMON_HOOK: 'login', CREDMON_CONFIG: join(m.base, 'credmon.toml') };
  return {
    issuer,
    open: (shell: Shell) => m.open(shell, { env, wrap: (command) => `stty rows 30 cols 100; ${command}` }),
  };
}

describe('the real login screen', () => {
  withShell(shells, 'Ctrl-C there leads on to a shell whose terminal is as it was', async (shell) => {
    const { issuer, open } = await alice(false);
    const session = open(shell);
    await session.says(`${issuer.url}/device`);
    session.type('\x03');
    const all = await session.finish('stty -a');
    expect(session.hook()).toMatch(/credmon: not logged in; when you want to, run: credmon login demo$/m);
    expect(all.match(/credmon: not logged in/g)).toHaveLength(1);
    for (const setting of ['echo', 'icanon', 'icrnl', 'isig', 'opost'])
      expect(all).toMatch(new RegExp(`[ \\n]${setting}[ \\r]`));
  });

  withShell(shells.slice(0, 2), 'after the approval it leads on by itself', async (shell) => {
    const { open } = await alice(true);
    const session = open(shell);
    await session.finish();
    expect(session.hook()).toMatch(/logged in|Logged in/);
    expect(session.hook()).not.toContain('not logged in');
  });
});
