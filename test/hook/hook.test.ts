import { describe, expect, test } from 'vitest';
import { machine, weAreRoot, withShell } from './kit.js';
import { bournes, shells } from './shells.js';

const dead = "1 login 0 1\ncilogon: login needed (the grant was revoked)\ncredmon login cilogon --scope 'a b'\n\n";
const line = "credmon: cilogon: login needed (the grant was revoked); run: credmon login cilogon --scope 'a b'\n";
const soon =
  '1 warn 4000000000 1\nyour login to cilogon ends on 2026-11-25 12:00 UTC\ncredmon login cilogon --force\ncilogon\n';

describe('at a login', () => {
  withShell(shells, 'when all is well nothing is said, and no program is run', async (shell) => {
    const m = machine();
    // Whatever it ran would not be found.
    const before = shell.name === 'tcsh' ? 'set path = ()' : shell.name === 'fish' ? 'set PATH' : 'PATH=';
    const session = m.open(shell, { before });
    expect(await session.past()).toBe('');
  });

  withShell(shells, 'when something is wrong, one line says what, with the command', async (shell) => {
    const m = machine();
    m.stands(dead);
    const session = m.open(shell);
    await session.finish('echo done=$CREDMON_HOOK_DONE');
    expect(session.hook()).toBe(line);
    expect(session.output()).toContain('done=1');
  });

  withShell(shells, 'a login that ends soon is warned of before', async (shell) => {
    const m = machine();
    m.stands(soon);
    const session = m.open(shell, { env: { CREDMON_HOOK: 'login' } });
    expect(await session.past()).toBe(
      'credmon: your login to cilogon ends on 2026-11-25 12:00 UTC; run: credmon login cilogon --force\n',
    );
  });

  withShell(shells, 'whoever has no credentials is told what is said to all', async (shell) => {
    const m = machine();
    const session = m.open(shell, { env: { LOGNAME: 'bob', USER: 'bob' } });
    expect(await session.past()).toBe('credmon: you are not logged in to cilogon; run: credmon login cilogon\n');
  });

  withShell(
    shells,
    'a credmond that does not run is told of, also where its last word was that all is well',
    async (shell) => {
      const m = machine();
      m.stands('1 ok 0 99999999999\n\n\n\n', '.default');
      const session = m.open(shell);
      expect(await session.past()).toBe(
        'credmon: credmond does not run on this machine: tokens are not kept fresh; its administrator should know\n',
      );
    },
  );

  withShell(shells, 'what was well until some time ago is so no longer', async (shell) => {
    const now = Math.floor(Date.now() / 1000);
    for (const [until, late] of [
      [now + 3600, false],
      [now - 60, false],
      [now - 3600, shell.clock === true],
    ] as const) {
      const m = machine();
      m.stands(`1 ok ${until} 1\n\n\ncilogon\n`);
      const session = m.open(shell);
      expect(await session.past()).toBe(
        late ? 'credmon: credmond has not looked at your credentials for a while; see: credmon status\n' : '',
      );
    }
  });
});

describe('nothing is said', () => {
  withShell(shells, 'a second time in a session: not by a login shell within it', async (shell) => {
    const m = machine();
    m.stands(dead);
    const session = m.open(shell);
    await session.says('GO-ON');
    session.type(`${shell.argv.join(' ')}\r`);
    await session.says(/GO-ON[\s\S]*GO-ON/);
    expect((await session.finish()).match(/credmon: cilogon/g)).toHaveLength(1);
  });

  withShell(shells, 'in panes, editors and on terminals that nobody reads', async (shell) => {
    for (const env of [
      { TMUX: '/tmp/tmux-0/default,1,0' },
      { STY: '1.pts-0.ap1' },
      { TERM: 'dumb' },
      { TERM_PROGRAM: 'vscode' },
      { VSCODE_IPC_HOOK_CLI: '/run/vscode.sock' },
      { VSCODE_RESOLVING_ENVIRONMENT: '1' },
      { SSH_ORIGINAL_COMMAND: 'rsync --server' },
      { CREDMON_HOOK: 'off' },
    ]) {
      const m = machine();
      m.stands(dead);
      const session = m.open(shell, { env });
      expect(await session.past()).toBe('');
    }
  });

  withShell(shells, 'by shells that are no login shells, or run a command, or have no terminal', async (shell) => {
    const m = machine();
    m.stands(dead);
    const [program, ...more] = shell.argv;
    const source = program === 'fish' || program === 'tcsh' ? 'source' : '.';
    const file = { fish: 'fish', tcsh: 'csh' }[program] ?? 'sh';
    const text = `${source} ${m.hook}/credmon.${file}; echo over`;
    // As sshd runs them for scp, rsync, sftp and git; VS Code sends its commands to a shell without a terminal.
    const args = more.filter((word) => word !== '-l');
    const command = m.run([program, ...args, '-c', text], { SSH_CLIENT: '192.0.2.7 1 22', SSH_CONNECTION: 'x' });
    expect([command.stdout, command.stderr]).toEqual(['over\n', '']);
    const input = m.run([program, ...args], { SSH_CLIENT: '192.0.2.7 1 22' }, `${text}\n`);
    expect(input.stdout + input.stderr).not.toContain('credmon');
    const wrapped = m.open(shell, { argv: [program, ...args, '-c', `'echo BEGIN; ${text}; echo GO-ON'`] });
    await wrapped.says('GO-ON');
    expect(wrapped.hook()).toBe('over\n');
    if (shell.name === 'dash' || shell.name === 'busybox') return; // They cannot tell.
    const inner = m.open(shell, { argv: [program, ...args] });
    inner.type(`echo BE""GIN; ${text}; echo GO-""ON\r`);
    await inner.says('GO-ON\r\n');
    expect(inner.output()).not.toContain('credmon: ');
  });

  withShell(shells, 'where standard output goes elsewhere', async (shell) => {
    const m = machine();
    m.stands(dead);
    const session = m.open(shell, { wrap: (command) => `${command} -i >${m.home}/out`.replace('-l -i', '-l') });
    session.type('exit\r');
    await expect.poll(() => session.output(), { timeout: 3000 }).toMatch(/exit/);
    expect(session.output()).not.toContain('credmon: ');
  });

  if (weAreRoot)
    withShell(shells, 'to root, by whatever name', async (shell) => {
      for (const name of ['root', 'alice']) {
        const m = machine();
        m.stands(dead);
        const session = m.open(shell, { root: true, env: { LOGNAME: name, USER: name } });
        expect(await session.past()).toBe('');
      }
    });
  else test.skip('to root, by whatever name (we are not root)', () => {});
});

describe('the mode', () => {
  withShell(shells, 'is what the environment says, else the person, else the machine', async (shell) => {
    const tried = async (how: { env?: string; person?: string; machine?: string }) => {
      const m = machine();
      m.stands(dead);
      if (how.machine !== undefined) m.put('etc/hook', how.machine);
      if (how.person !== undefined) m.put('home/.config/credmon/hook', how.person);
      const session = m.open(shell, { env: how.env === undefined ? {} : { CREDMON_HOOK: how.env } });
      return (await session.past()) === line;
    };
    expect(await tried({ machine: 'off\n' })).toBe(false);
    expect(await tried({ machine: 'off' })).toBe(false);
    expect(await tried({ machine: 'off\n', person: 'warn\n' })).toBe(true);
    expect(await tried({ machine: 'warn\n', person: 'off\n' })).toBe(false);
    expect(await tried({ person: 'off\n', env: 'warn' })).toBe(true);
    expect(await tried({ env: '$(touch pwned)' })).toBe(true);
  });

  withShell(shells, 'may be followed by where the status files are', async (shell) => {
    const m = machine();
    m.put('elsewhere/login/.default', '1 ok 0 1\n\n\n\n');
    m.put('elsewhere/login/alice', dead);
    m.put('etc/hook', `warn\n${m.base}/elsewhere\n`);
    m.stands('2 new 0 1\n');
    const session = m.open(shell);
    expect(await session.past()).toBe(line);
  });
});

describe('with `login`', () => {
  withShell(shells, 'the login screen is started with just the words of the command, once', async (shell) => {
    const m = machine();
    m.stands(dead);
    m.credmon('printf "<%s>" "$@"; echo; echo hook=$CREDMON_HOOK_DONE$CREDMON_HOOK_FOR');
    const session = m.open(shell, { env: { CREDMON_HOOK: 'login' } });
    expect(await session.past()).toBe(`${line}<login><cilogon><--scope><a b>\nhook=1\n`);
  });

  withShell(
    shells,
    'Ctrl-C there leaves a usable shell, which goes on with what there is to do at a login',
    async (shell) => {
      const m = machine();
      m.stands(dead);
      m.credmon('echo SCREEN; while :; do sleep 0.05; done');
      const after =
        shell.name === 'tcsh' ? 'setenv AFTER yes' : shell.name === 'fish' ? 'set -gx AFTER yes' : 'AFTER=yes';
      const session = m.open(shell, { env: { CREDMON_HOOK: 'login' }, after });
      await session.says('SCREEN\r\n');
      session.type('\x03');
      await session.finish('echo "after=$AFTER"');
      expect(session.hook()).toMatch(
        /credmon: not logged in; when you want to, run: credmon login cilogon --scope 'a b'\n$/,
      );
      expect(session.output()).toContain('after=yes');
      expect(session.output().match(/SCREEN/g)).toHaveLength(1);
    },
  );

  withShell(shells, 'one that fails, or is not there, is no hindrance', async (shell) => {
    for (const text of ['exit 77', undefined]) {
      const m = machine();
      m.stands(dead);
      if (text !== undefined) m.credmon(text);
      const session = m.open(shell, { env: { CREDMON_HOOK: 'login', PATH: '/usr/bin:/bin' } });
      expect(await session.past()).toMatch(/^credmon: cilogon: login needed/);
    }
  });

  withShell(bournes, 'what is no such command is shown and not started', async (shell) => {
    for (const command of [
      'credmon login cilogon --config /tmp/evil',
      "credmon login 'cilogon",
      "credmon login cilogon'x'",
      'credmon logout cilogon',
      'touch pwned',
      'credmon login',
    ]) {
      const m = machine();
      m.stands(`1 login 0 1\nw\n${command}\n\n`);
      m.credmon('echo STARTED');
      const session = m.open(shell, { env: { CREDMON_HOOK: 'login' } });
      expect(await session.past()).toBe(`credmon: w; run: ${command}\n`);
    }
  });
});
