import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { type Machine, machine, withShell } from './kit.js';
import { bournes, type Shell, shells } from './shells.js';

const dead = '1 login 0 1\ncilogon: login needed\ncredmon login cilogon\n\n';
const line = 'credmon: cilogon: login needed; run: credmon login cilogon\n';
const vague = 'credmon: something is wrong with your credentials; see: credmon status\n';

const told = (m: Machine, shell: Shell, more: Parameters<Machine['open']>[1] = {}): Promise<string> =>
  m.open(shell, more).past();

describe('what stands in a login file', () => {
  const texts = {
    'a terminal’s escapes': 'a \x1b]0;evil\x07\x1b[2J b',
    'eight-bit controls': Buffer.from([0x61, 0x9b, 0x33, 0x31, 0x6d]),
    'the same in UTF-8': 'a \u009b31m b',
    'what turns a line around': 'a \u202e b',
    'what echo would make escapes of': 'a \\033[2J \\e \\c b',
    'a carriage return': 'good\rbad',
    'a tab': 'a\tb',
  };
  withShell(shells, 'is not interpreted by the terminal', async (shell) => {
    for (const text of Object.values(texts)) {
      const m = machine();
      m.stands(
        Buffer.concat([Buffer.from('1 login 0 1\n'), Buffer.from(text), Buffer.from('\ncredmon login cilogon\n\n')]),
      );
      expect(await told(m, shell, { env: { CREDMON_HOOK: 'warn' } })).toBe(vague);
    }
    const m = machine();
    m.stands('1 login 0 1\nw\ncredmon login \x1b[31mcilogon\n\n');
    m.credmon('echo STARTED');
    expect(await told(m, shell, { env: { CREDMON_HOOK: 'login' } })).toBe(vague);
  });

  withShell(shells, 'is not executed, expanded or split', async (shell) => {
    const words = [
      '$(touch $HOME/pwned) `touch $HOME/pwned` ; touch $HOME/pwned & touch $HOME/pwned | touch $HOME/pwned',
      '* ~ ~root {a,b} $HOME !! !1 %s%n %1 <(touch pwned) >pwned #x [a-z] "q" \'q\' ^a^b^',
      '-n -e a   b',
    ];
    for (const text of words) {
      const m = machine();
      m.stands(`1 login 0 1\n${text}\ncredmon login cilogon ; touch pwned\n\n`);
      m.credmon('printf "<%s>" "$@"; echo');
      const session = m.open(shell, { env: { CREDMON_HOOK: 'login' } });
      await session.finish();
      expect(session.hook()).toBe(
        `credmon: ${text}; run: credmon login cilogon ; touch pwned\n<login><cilogon><;><touch><pwned>\n`,
      );
      expect(existsSync(join(m.home, 'pwned'))).toBe(false);
    }
  });

  withShell(shells, 'that is not as credmond writes it says nothing, whatever it is', async (shell) => {
    for (const text of [
      '',
      '\n',
      '\0\0\0\n',
      '2 login 0 1\nw\nc\n',
      '1 login 0\nw\n',
      '1 login x y\nw\n',
      '1 login 0 1 2\nw\n',
      '1 ok $(touch pwned) 1\n\n',
      '1 ok 0) || exit 0 # 1\n',
      '1 ok * *\n',
      '1 ok \' "\n',
      '1 ok 99999999999999999999999 1\n',
      '1 ok a[$(touch$IFS$HOME/pwned)] 1\n',
      '1 nothing 0 1\nw\nc\n',
      'ok\n',
    ]) {
      const m = machine();
      m.stands(text);
      m.stands('1 ok 0 1\n\n\n\n', '.default');
      expect([text, await told(m, shell)]).toEqual([text, '']);
      expect(existsSync(join(m.home, 'pwned'))).toBe(false);
    }
  });

  withShell(shells, 'may lack its last newline', async (shell) => {
    const m = machine();
    m.stands('1 login 0 1\ncilogon: login needed\ncredmon login cilogon');
    expect(await told(m, shell)).toBe(line);
    m.stands('1 ok 0 1');
    expect(await told(m, shell)).toBe('');
  });

  withShell(shells, 'may be very much', async (shell) => {
    const m = machine();
    m.stands(`${dead}${'x'.repeat(99)}\n`.repeat(300_000));
    expect(await told(m, shell)).toBe(line);
    m.stands('x'.repeat(500_000));
    expect(await told(m, shell)).toBe('');
  });
});

describe('what stands in its place', () => {
  withShell(shells, 'a FIFO, a link, a folder or what may not be read hangs nobody', async (shell) => {
    const m = machine();
    const path = join(m.login, 'alice');
    const other = join(m.base, 'other');
    m.put('other', dead);
    for (const make of [
      () => execFileSync('mkfifo', [path]),
      () => symlinkSync(other, path),
      () => symlinkSync('/dev/zero', path),
      () => symlinkSync('/dev/tty', path),
      () => mkdirSync(path),
      () => m.put('status/login/alice', dead, 0o000),
    ]) {
      rmSync(path, { recursive: true, force: true });
      make();
      expect(await told(m, shell)).toBe('');
    }
    for (const name of ['.default', '../../etc/hook', '../../home/.config/credmon/hook']) {
      const at = join(m.login, name);
      rmSync(at, { force: true });
      mkdirSync(join(at, '..'), { recursive: true });
      execFileSync('mkfifo', ['-m', '666', at]);
    }
    rmSync(path, { force: true });
    expect(await told(m, shell)).toBe('');
  });

  withShell(shells, 'a name that leads elsewhere is none', async (shell) => {
    const m = machine();
    m.put('status/alice', dead);
    for (const name of ['../alice', '.', '..', '.default', '', '/etc/passwd', 'a b*'])
      expect(await told(m, shell, { env: { LOGNAME: name, USER: name } })).toBe(
        name === 'a b*' ? 'credmon: you are not logged in to cilogon; run: credmon login cilogon\n' : '',
      );
  });
});

describe('a shell with odd habits', () => {
  const habits = [
    'set -e',
    'set -u',
    'set -C',
    'set -f',
    'set -a',
    "IFS='1 oklgi/'",
    'unset IFS',
    "alias read='echo ALIASED' echo='false' unset='echo ALIASED' export='false' set='false' trap='false' command='false' :='false' return='exit' shopt='false'",
    'set -- a b c',
    'set -e; set -u; set -C; set -f',
  ];
  withShell(bournes, 'is told the same, and has the same habits afterwards', async (shell) => {
    for (const habit of habits) {
      const m = machine();
      m.stands(dead);
      m.credmon('echo "$*"; exit 3');
      // Not by `echo` and not with spaces: those are among the habits.
      const [was, after] = ['was', 'left'].map((file) => `printf "%s\\n" "$-,$#,\${IFS-none}" >"$HOME/${file}"`);
      const before = `${habit}\n${was}`;
      const session = m.open(shell, {
        env: { CREDMON_HOOK: 'login' },
        before,
        after: `${after}`,
        marks: 'printf "%s\\n"',
      });
      await session.says('GO-ON');
      expect([habit, session.hook()]).toEqual([
        habit,
        `${line}login cilogon\ncredmon: not logged in; when you want to, run: credmon login cilogon\n`,
      ]);
      await expect.poll(() => m.read('home/left'), { timeout: 5000 }).toBe(m.read('home/was'));
      expect(m.read('home/left')).not.toBe('');
    }
  });

  withShell(
    [
      { ...(bournes[0] as Shell), argv: ['bash', '-r', '-l'] },
      { ...(bournes[2] as Shell), argv: ['ksh93', '-r', '-l'] },
      { ...(bournes[5] as Shell), argv: ['zsh', '-r', '-l'] },
    ],
    'may be restricted: then as far as it goes at a login, and without complaints',
    async (shell) => {
      const m = machine();
      m.stands(dead);
      expect(await told(m, shell)).toBe(line);
    },
  );

  const zsh = bournes[5] as Shell;
  const through = (line: (hook: string) => string): Shell => ({
    ...zsh,
    files: (hook, before, after, mark) => ({
      '.zprofile': `PATH=$HOME/bin:$PATH\n${before}\n${mark} BEGIN\n${line(hook)}\n${mark} GO-ON\n${after}\n`,
    }),
  });
  withShell(
    [
      through((hook) => `emulate sh -c '. ${hook}/credmon.sh'`),
      through((hook) => `profile() { emulate -L ksh; source ${hook}/credmon.sh }; profile`),
      through((hook) => `setopt ksh_arrays sh_word_split no_unset err_exit warn_create_global; . ${hook}/credmon.sh`),
    ],
    'may be made another one, as where it reads /etc/profile',
    async (shell) => {
      const m = machine();
      m.stands(dead);
      m.credmon('echo "$*"');
      expect(await told(m, shell, { env: { CREDMON_HOOK: 'login' } })).toBe(`${line}login cilogon\n`);
      m.stands('1 ok 0 1\n');
      expect(await told(m, shell)).toBe('');
    },
  );

  const habitsOf = {
    tcsh: [
      'set noclobber',
      'set nonomatch',
      'set noglob',
      'alias sh false; alias test false',
      'set histchars',
      'onintr -',
    ],
    fish: ['set -g IFS x', 'set -gx fish_trace ""', 'function math; end; function string; end; function sh; end'],
  };
  withShell(shells.slice(bournes.length), 'is told the same', async (shell) => {
    for (const before of habitsOf[shell.name as keyof typeof habitsOf]) {
      const m = machine();
      m.stands(dead);
      expect([before, await told(m, shell, { before })]).toEqual([before, line]);
      m.stands(`1 ok ${Math.floor(Date.now() / 1000) + 60} 1\n`);
      expect([before, await told(m, shell, { before })]).toEqual([before, '']);
    }
  });

  withShell(bournes, 'keeps nothing of the hook but that it was there', async (shell) => {
    const m = machine();
    m.stands(dead);
    const session = m.open(shell, { after: 'set >"$HOME/left"' });
    await session.finish();
    const names = m.read('home/left').match(/^(?:__)?credmon\w*/gim);
    expect(names).toEqual(['CREDMON_HOOK_DONE']);
  });
});
