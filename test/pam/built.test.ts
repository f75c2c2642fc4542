import { execFileSync, spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { make, source } from './build.js';
import { builtDir, lacking } from './kit.js';

const vectors = join(source, 'test/vectors.txt');

const has = (tool: string): boolean => spawnSync(tool, ['--version']).error === undefined;
const module = () => join(builtDir(), 'pam_credmon.so');
const read = (tool: string, ...words: string[]): string =>
  execFileSync(tool, [...words, module()], { encoding: 'utf8' });
/** Names of symbols, without their versions. */
const symbols = (which: string): string[] =>
  read('nm', '-D', which)
    .split('\n')
    .filter((line) => / [A-Za-z] /.test(line) && !/ [wvV] /.test(line))
    .map((line) => line.replace(/^.* [A-Za-z] /, '').replace(/@.*$/, ''));

describe.skipIf(lacking)(`pam_credmon.so${lacking ? ` (skipped ${lacking})` : ''}`, () => {
  test('passes the tests in C: records by the shared table, helpers, the talk', () => {
    const { status, stdout, stderr } = spawnSync(join(builtDir(), 'unit'), [vectors], { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(stdout).toMatch(/\d{5} checks, 0 failed/);
  });

  describe.skipIf(!has('nm') || !has('readelf'))('as it is built (skipped without binutils)', () => {
    test('exports the functions that sshd calls, and nothing else', () => {
      expect(symbols('--defined-only').sort()).toEqual([
        'pam_sm_acct_mgmt',
        'pam_sm_authenticate',
        'pam_sm_close_session',
        'pam_sm_open_session',
        'pam_sm_setcred',
      ]);
    });

    test('needs libc and libpam alone', () => {
      const needed = [...read('readelf', '-dW').matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name]) => name);
      // On some machines the stack protector's canary is the loader's.
      expect(needed.filter((name) => !name?.startsWith('ld-')).sort()).toEqual(['libc.so.6', 'libpam.so.0']);
    });

    test('checklist 16: calls nothing that leaves, forks, signals, prints, allocates or changes the program\u2019s environment or PAM\u2019s items', () => {
      const calls = symbols('--undefined-only').map((name) => name.replace(/^__(.*)_chk$/, '$1'));
      expect(calls).toContain('getpwnam_r');
      const forbidden =
        /^(_?exit|_Exit|quick_exit|abort|raise|kill|(_?sig)?(set|long)jmp|v?fork|clone|exec.*|posix_spawn.*|system|popen|pthread_.*|thrd_.*|signal|sig(action|procmask|nal)?|alarm|set_?itimer|v?f?d?printf|f?puts|f?putc(har)?|perror|f(open|write|read|close|gets)|std(in|out|err)|malloc|calloc|realloc|(un|secure_)?getenv|(set|put|clear|unset)env|_*environ|v?sprintf|gets|str(cpy|cat)|set(e|re|res)?[ug]id|setgroups|umask|ch(dir|root|mod|own)|dlopen|openlog|closelog|pam_(set_item|set_data|fail_delay|end|start))$/;
      expect(calls.filter((name) => forbidden.test(name))).toEqual([]);
    });

    test('has a stack that is not executable, and relocations that are read-only before anything runs', () => {
      const headers = read('readelf', '-lW');
      expect(headers).toMatch(/GNU_STACK .* RW +0x/);
      expect(headers).toMatch(/GNU_RELRO/);
      expect(headers).not.toMatch(/ RWE /);
      const dynamic = read('readelf', '-dW');
      expect(dynamic).toMatch(/BIND_NOW|FLAGS_1.*NOW/);
      expect(dynamic).not.toMatch(/TEXTREL|RPATH|RUNPATH/);
    });

    test('has guards on its stack', () => {
      expect(symbols('--undefined-only')).toContain('__stack_chk_fail');
    });
  });

  describe.skipIf(!has('clang'))('with clang (skipped without it)', () => {
    const built = (targets: readonly string[]): string => {
      const dir = make(targets, ['CC=clang']);
      onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
      return dir;
    };

    test('it compiles without a warning, too, and passes the tests in C', () => {
      const { status, stderr } = spawnSync(join(built(['all', 'unit']), 'unit'), [vectors], { encoding: 'utf8' });
      expect([status, stderr]).toEqual([0, '']);
    });

    test('the fuzzer takes all of its corpus', () => {
      const corpus = join(source, 'fuzz/corpus');
      const dir = built(['fuzzer']);
      const { status, stderr } = spawnSync(join(dir, 'fuzz-record'), ['-runs=0', corpus], {
        encoding: 'utf8',
        cwd: dir,
      });
      expect(status, stderr).toBe(0);
      expect(Number(/INFO: +(\d+) files found/.exec(stderr)?.[1])).toBeGreaterThan(100);
    });
  });
});
