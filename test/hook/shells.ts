import { existsSync } from 'node:fs';
import { join } from 'node:path';

export interface Shell {
  readonly name: string;
  /** As a login shell. */
  readonly argv: readonly [string, ...string[]];
  /** What it reads at a login, below the home folder, and what of it begins, reads the hook, and goes on. */
  readonly files: (hook: string, before: string, after: string, mark: string) => Readonly<Record<string, string>>;
  /** Whether it can tell the time without a program. */
  readonly clock?: boolean;
}

const sh = (file: string) => (hook: string, before: string, after: string, mark: string) => ({
  [file]: `PATH=$HOME/bin:$PATH\n${before}\n${mark} BEGIN\n. ${hook}/credmon.sh\n${mark} GO-ON\n${after}\n`,
});

/** The Bourne shells. */
export const bournes: readonly Shell[] = [
  { name: 'bash', argv: ['bash', '-l'], files: sh('.bash_profile'), clock: true },
  { name: 'dash', argv: ['dash', '-l'], files: sh('.profile') },
  { name: 'ksh93', argv: ['ksh93', '-l'], files: sh('.profile') },
  { name: 'mksh', argv: ['mksh', '-l'], files: sh('.profile'), clock: true },
  { name: 'busybox', argv: ['busybox', 'sh', '-l'], files: sh('.profile'), clock: true },
  { name: 'zsh', argv: ['zsh', '-l'], files: sh('.zprofile'), clock: true },
];

const others: readonly Shell[] = [
  {
    name: 'tcsh',
    argv: ['tcsh', '-l'],
    files: (hook, before, after, mark) => ({
      '.login': `set path = ( $HOME/bin $path )\n${before}\n${mark} BEGIN\nsource ${hook}/credmon.csh\n${mark} GO-ON\n${after}\n`,
    }),
    clock: true,
  },
  {
    name: 'fish',
    argv: ['fish', '-l'],
    files: (hook, before, after, mark) => ({
      // Else it makes completions out of all manual pages, at its leisure.
      '.local/share/fish/generated_completions/none.fish': '',
      '.config/fish/conf.d/a.fish': `set -g fish_greeting\nset PATH $HOME/bin $PATH\n${before}\nstatus is-login; and ${mark} BEGIN`,
      '.config/fish/conf.d/b.fish': `source ${hook}/credmon.fish`,
      '.config/fish/conf.d/c.fish': `status is-login; and ${mark} GO-ON\n${after}\n`,
    }),
    clock: true,
  },
];

export const shells: readonly Shell[] = [...bournes, ...others];

const found = (name: string): boolean =>
  (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, name)));

/** Why it cannot be tried here; undefined: it can. */
export function lacking({ argv: [program] }: Pick<Shell, 'argv'>): string | undefined {
  if (!found('script')) return 'there is no script (bsdutils) here, which has the terminal';
  return found(program) ? undefined : `there is no ${program} here`;
}
