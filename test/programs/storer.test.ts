import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { later } from '../../src/core/time.js';
import { openTerminal } from '../e2e/lab/terminal.js';
import { programs } from '../helpers/programs.js';
import { cilogon, day, health, hour, icecube, now, type Told, warning } from '../storer/kit.js';
import { cleanup, issuerFor, run, until } from './kit.js';

const uid = process.getuid?.() ?? 0;
const storer = join(programs, 'bin', 'credmon-storer.js');
const dune = { name: 'dune', flow: 'vault', scopes: [] } as const;
const osdf = { name: 'osdf', flow: 'pelican', scopes: [] } as const;

interface Point {
  /** What condor_config_val prints besides, line by line. */
  readonly knobs?: readonly string[];
  /** By stems. */
  readonly stored?: readonly string[];
  /** What condor_store_cred does (in sh) when something is stored: its stdin is in the file $1. */
  readonly onStore?: string;
  /** What condor_q prints. */
  readonly queue?: string;
}

/** An access point: credmond's status folder, and HTCondor's tools as far as the storer calls them. Each call is noted. */
function accessPoint(credentials: readonly Told[], { knobs = [], stored = [], onStore = ':', queue = '' }: Point = {}) {
  const base = mkdtempSync(join(tmpdir(), 'credmon-storer-'));
  chmodSync(base, 0o755);
  cleanup(() => rmSync(base, { recursive: true, force: true, maxRetries: 5 }));
  const [bin, status, there, calls] = ['bin', 'status', 'there', 'calls'].map((name) => join(base, name)) as [
    string,
    string,
    string,
    string,
  ];
  for (const dir of [bin, status, there]) mkdirSync(dir);
  for (const stem of stored) writeFileSync(join(there, stem), '');
  const mine = join(status, `${uid}.json`);
  const text = (list: readonly Told[], more: object = {}) =>
    JSON.stringify({
      v: 1,
      at: now(),
      pid: 999_999_999,
      providers: [cilogon, icecube, dune, osdf],
      warning,
      credentials: list,
      ...more,
    });
  const tell = (list: readonly Told[], more?: object) => {
    writeFileSync(mine, text(list, more));
    writeFileSync(join(status, 'all.json'), text([]));
  };
  tell(credentials);
  const tool = (name: string, lines: string) => {
    writeFileSync(join(bin, name), `#!/bin/sh\necho "${name} $*" >> '${calls}'\n${lines}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  const dump = [
    `CREDMON_STATUS_DIR = ${status}`,
    'CREDMON_PROVIDER_NAMES = cilogon icecube',
    ...['cilogon', 'icecube'].flatMap((name) => [`${name}_ISSUER = https://${name}.example`, `${name}_CLIENT_ID = x`]),
    'icecube_FLOW = exchange',
    'icecube_CLIENT_SECRET_FILE = /nowhere/secret',
    ...knobs,
  ];
  tool('condor_config_val', `cat <<'END'\n${dump.join('\n')}\nEND`);
  tool('condor_q', `cat <<'END'\n${queue}\nEND`);
  tool(
    'condor_store_cred',
    `action=$1; shift
while [ $# -gt 0 ]; do case $1 in -s) name=$2; shift;; -H) name=\${name}_$2; shift;; esac; shift; done
set -- '${there}'/"$name"
case $action in
query-oauth) [ -e "$1" ] || { echo "No credential is stored."; exit 1; }; echo "A credential was stored and is waiting for processing.";;
add-oauth) cat > "$1"; ${onStore}
echo "Operation succeeded and is waiting for processing.";;
esac`,
  );
  const env = { PATH: `${bin}:${process.env.PATH ?? '/usr/bin:/bin'}`, HOME: base, _CONDOR_CREDMON_STATUS_DIR: status };
  return {
    base,
    bin,
    status,
    mine,
    env,
    text,
    tell,
    tool,
    /** credmond has told nothing for so many seconds. */
    silent: (ago: number) => utimesSync(join(status, 'all.json'), Date.now() / 1000 - ago, Date.now() / 1000 - ago),
    /** A file that a tool can put in the place of the status. */
    next(list: readonly Told[]): string {
      const path = join(base, 'next');
      writeFileSync(path, text(list));
      return `cp '${path}' '${mine}.tmp'; mv '${mine}.tmp' '${mine}'`;
    },
    stored: (stem: string) => JSON.parse(readFileSync(join(there, stem), 'utf8')) as unknown,
    calls: () => (existsSync(calls) ? readFileSync(calls, 'utf8').trimEnd().split('\n') : []),
    storer: (args: readonly string[], more: Record<string, string> = {}) =>
      run('credmon-storer', args, { env: { ...env, ...more } }).ended,
  };
}

/** What it said: on standard error only, begun on a line of its own, since condor_submit's has no end yet. */
function said({ code, out, err }: { code: number | null; out: string; err: string }) {
  expect(out).toBe('');
  expect(err).toMatch(/^\n(?:credmon-storer: (?:error|hint|warning): \S.*\n)+$/);
  return { code, lines: err.trim().split('\n') };
}

describe.concurrent('a submit that needs nothing', () => {
  test('is not kept waiting: no tool of HTCondor’s is run, and nothing is said', async () => {
    const point = accessPoint([health(), health('icecube', { handle: 'h', scopes: ['a'] })]);
    const { ms, ...ended } = await point.storer(['cilogon', 'icecube&handle=h&scopes=a']);
    expect(ended).toEqual({ code: 0, signal: null, out: '', err: '' });
    expect(point.calls()).toEqual([]);
    console.log(`the quick way took ${ms.toFixed(0)} ms`);
    expect(ms).toBeLessThan(2000);
  });

  test('also where credmond has told nothing for a while and yet runs: that takes a look at the configuration', async () => {
    const point = accessPoint([]);
    point.tell([health()], { pid: process.pid });
    point.silent(1000);
    expect(await point.storer(['cilogon'])).toMatchObject({ code: 0, out: '', err: '' });
    expect(point.calls()).toEqual(['condor_config_val -dump -expanded']);
  });

  test('but one that does not run is told of, and the job goes in', async () => {
    const point = accessPoint([health()]);
    point.silent(1000);
    expect(said(await point.storer(['cilogon']))).toEqual({
      code: 0,
      lines: ['credmon-storer: warning: credmond does not run: the token that is there is not refreshed'],
    });
  });

  test('services of other credmons are theirs: silence', async () => {
    const point = accessPoint([], { knobs: ['OAUTH2_CREDMON_PROVIDER_NAMES = box', 'mine_CLIENT_ID = y'] });
    expect(await point.storer(['scitokens', 'box&handle=x', 'mine'])).toMatchObject({ code: 0, out: '', err: '' });
    expect(point.calls()).toEqual(['condor_config_val -dump -expanded']);
  });
});

describe.concurrent('a submit that needs no person', () => {
  test('what credmond can make is stored as a request, and waited for in silence', async () => {
    const next = [health('icecube', { handle: 'h', scopes: ['a', 'b'], stamp: '2' })];
    // Written before the tool that uses it is.
    const holder = accessPoint([]);
    const point = accessPoint([], { onStore: `cp '${join(holder.base, 'next')}' "$NEXT.tmp"; mv "$NEXT.tmp" "$NEXT"` });
    holder.next(next);
    const { ms, ...ended } = await point.storer(['icecube&handle=h&scopes=a,b'], { NEXT: point.mine });
    expect(ended).toEqual({ code: 0, signal: null, out: '', err: '' });
    expect(point.calls()).toEqual(['condor_store_cred add-oauth -s icecube -H h -S a,b -i -']);
    expect(point.stored('icecube_h')).toEqual({ credmon_request: 1, provider: 'icecube', handle: 'h' });
    expect(ms).toBeLessThan(3000);
  });

  test('its refusal is told with what helps', async () => {
    const holder = accessPoint([]);
    const point = accessPoint([], { onStore: `cp '${join(holder.base, 'next')}' "$NEXT.tmp"; mv "$NEXT.tmp" "$NEXT"` });
    const trouble = {
      kind: 'refused',
      what: 'alice may not have the scope x from icecube',
      hint: 'ask for other scopes',
    } as const;
    holder.next([health('icecube', { state: 'retrying', life: null, scopes: ['x'], trouble })]);
    expect(said(await point.storer(['icecube&scopes=x'], { NEXT: point.mine }))).toEqual({
      code: 1,
      lines: [
        'credmon-storer: error: there is no token for icecube: alice may not have the scope x from icecube',
        'credmon-storer: hint: ask for other scopes',
      ],
    });
  });
});

describe.concurrent('a submit that needs a person, and there is none', () => {
  test('is told at once what to run, as it can be pasted', async () => {
    const point = accessPoint([]);
    const { ms, ...ended } = await point.storer([
      'cilogon&handle=h&scopes=storage.read:/a,storage.create:/$HOME/(x)&audience=https://x/?a=b&c=`d`',
      'cilogon',
    ]);
    const { code, lines } = said(ended);
    expect(code).toBe(1);
    expect(lines.slice(0, 2)).toEqual([
      'credmon-storer: error: the job needs a token of cilogon_h: you are not logged in to it',
      'credmon-storer: error: the job needs a token of cilogon: you are not logged in to it',
    ]);
    const [, command = ''] =
      /^credmon-storer: hint: run in a terminal, then submit again: (.*)$/.exec(lines[2] ?? '') ?? [];
    // Pasted into a shell, where credmon tells its words.
    const shown = join(point.base, 'words');
    point.tool('credmon', `for word; do printf '[%s]' "$word"; done >> '${shown}'; echo >> '${shown}'`);
    execFileSync('sh', ['-c', command], { env: point.env });
    expect(readFileSync(shown, 'utf8').trimEnd().split('\n')).toEqual([
      '[login][--request][cilogon&handle=h&scopes=storage.create:/$HOME/(x),storage.read:/a&audience=https://x/?a=b&c=`d`][--request][cilogon]',
    ]);
    console.log(`without a terminal it took ${ms.toFixed(0)} ms to say so`);
    expect(ms).toBeLessThan(2000);
    // Side by side.
    expect(new Set(point.calls().filter((call) => !call.startsWith('credmon ')))).toEqual(
      new Set(['condor_store_cred query-oauth -s cilogon -H h', 'condor_store_cred query-oauth -s cilogon']),
    );
  });

  test('what is there is for something else: both are named, and both ways out', async () => {
    const point = accessPoint([health('cilogon', { scopes: ['storage.read:/a'] })]);
    const { code, lines } = said(await point.storer(['cilogon&scopes=storage.create:/b']));
    expect(code).toBe(1);
    expect(lines).toEqual([
      'credmon-storer: error: the job asks cilogon for the scopes storage.create:/b, but what is stored is for the scopes storage.read:/a',
      'credmon-storer: hint: keep both apart by a handle (cilogon_oauth_permissions_NAME = …), or give up what is there, if no other job uses it: credmon logout cilogon',
    ]);
    expect(point.calls()).toEqual([]);
  });

  test('a name that nobody knows is taken for the one that was meant, and what is known is still told of', async () => {
    const point = accessPoint([]);
    const { code, lines } = said(await point.storer(['cilogn']));
    expect(code).toBe(1);
    expect(lines).toEqual([
      'credmon-storer: error: no credential service "cilogn" is known here',
      'credmon-storer: hint: did you mean cilogon?',
    ]);
    const stored = accessPoint([], { stored: ['homemade'] });
    expect(await stored.storer(['homemade'])).toMatchObject({ code: 0, out: '', err: '' });
  });

  test('Vault’s are HTCondor’s own storer’s, told that nobody can answer; Pelican’s take a person', async () => {
    const point = accessPoint([]);
    const theirs = join(point.base, 'condor_vault_storer');
    writeFileSync(
      theirs,
      `#!/bin/sh\nprintf '[%s]' "$@" "$HTGETTOKENOPTS" > '${point.base}/theirs'\nexit "\${FAIL:-0}"\n`,
    );
    chmodSync(theirs, 0o755);
    const other = { CREDMON_CONFIG: '', _CONDOR_CREDMON_VAULT_STORER: theirs };
    point.tool(
      'condor_config_val',
      `echo 'CREDMON_VAULT_STORER = ${theirs}'; echo 'CREDMON_STATUS_DIR = ${point.status}'; echo 'CREDMON_PROVIDER_NAMES = cilogon'; echo 'cilogon_ISSUER = https://x.example'; echo 'cilogon_CLIENT_ID = x'`,
    );
    const bad = said(
      await point.storer(['dune&handle=h&scopes=a,b&audience=x'], { ...other, FAIL: '1', HTGETTOKENOPTS: '-q' }),
    );
    expect(readFileSync(join(point.base, 'theirs'), 'utf8')).toBe('[dune&handle=h&scopes=a,b&audience=x][-q --nooidc]');
    expect(bad.code).toBe(1);
    const pelican = said(await point.storer(["osdf&options=--why 'not'"], other));
    expect(pelican.code).toBe(1);
    expect(pelican.lines[0]).toBe(
      'credmon-storer: error: there is no credential for osdf, and it takes a person to get one',
    );
    const [, command = ''] = /run in a terminal: (.*)$/.exec(pelican.lines[1] ?? '') ?? [];
    execFileSync('sh', ['-c', command], { env: point.env });
    expect(readFileSync(join(point.base, 'theirs'), 'utf8')).toBe("[osdf&options=--why 'not'][]");
  });
});

describe.concurrent('words that are none', () => {
  test.each([
    [['cilogon&colour=red'], 'colour'],
    [['../x'], '"../x" cannot name a service'],
    [['cilogon&handle=..'], 'cannot name a handle'],
    [['cilogon', ''], 'cannot name a service'],
    [['cilogon&scopes=a"b'], 'cannot be a scope'],
    [['cilogon&audience=a\u001b[31m'], 'has characters in it that cannot be shown'],
  ])('%j', async (args, words) => {
    const point = accessPoint([health()]);
    const { code, lines } = said(await point.storer(args));
    expect(code).toBe(1);
    expect(lines[0]).toContain('credmon-storer: error: the request');
    expect(lines.join('\n')).toContain(words);
    expect(point.calls()).toEqual([]);
  });

  test('--help, --version, and nothing at all', async () => {
    const point = accessPoint([]);
    for (const args of [['--help'], ['-h'], []])
      expect(await point.storer(args)).toMatchObject({
        code: 0,
        out: expect.stringMatching(/^Usage: credmon-storer SERVICE/),
        err: '',
      });
    const { version } = JSON.parse(readFileSync(join(programs, 'package.json'), 'utf8')) as { version: string };
    expect(await point.storer(['--version'])).toMatchObject({ code: 0, out: `credmon-storer ${version}\n`, err: '' });
  });

  test('no secret that is in anybody’s words gets out', async () => {
    const jwt = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl';
    const trouble = {
      kind: 'login-needed',
      what: `refused: refresh_token=s3cret-refresh-token ${jwt}`,
      hint: `Bearer ${jwt}`,
    } as const;
    const point = accessPoint([health('cilogon', { state: 'login-needed', trouble })]);
    const { code, lines } = said(await point.storer(['cilogon']));
    expect(code).toBe(1);
    expect(lines.join('\n')).toContain('refused: refresh_token=…');
    expect(lines.join('\n')).not.toMatch(/s3cret|eyJ/);
  });
});

describe.concurrent('a login that is about to end', () => {
  test('is told of with the jobs that may outlive it, and the job goes in', async () => {
    const queue = '12.0 12\n13.0 13\n';
    const point = accessPoint([health('cilogon', { ends: later(now(), 2.5 * day) })], { queue });
    const { code, lines } = said(await point.storer(['cilogon']));
    expect([code, lines]).toEqual([
      0,
      [
        expect.stringMatching(
          /^credmon-storer: warning: your login to cilogon ends in 3 days \(jobs that may outlive it: 12\.0, 13\.0\); renew it: credmon login cilogon --force$/,
        ),
      ],
    ]);
    expect(point.calls()).toEqual([
      'condor_q -constraint stringListMember("cilogon", OAuthServicesNeeded) -limit 9 -af:j ClusterId',
    ]);
  });

  test('of the jobs some are named, and that there are others', async () => {
    const queue = Array.from({ length: 9 }, (_, i) => `${i + 1}.0 ${i + 1}`).join('\n');
    const point = accessPoint([health('cilogon', { ends: later(now(), 2.5 * day) })], { queue });
    const { lines } = said(await point.storer(['cilogon']));
    expect(lines[0]).toContain('(jobs that may outlive it: 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0 and others)');
  });

  test('also where condor_q does not answer, and when nobody is there to renew it', async () => {
    const point = accessPoint([health('cilogon', { ends: later(now(), hour) })]);
    point.tool('condor_q', 'exit 1');
    const { code, lines } = said(await point.storer(['cilogon']));
    expect([code, lines.length]).toEqual([0, 1]);
    expect(lines[0]).toContain('ends in 60 min; renew it');
  });
});

/** As condor_submit calls it, in a pipeline: stdin is a pipe at its end, stdout none of a terminal, its line not ended. */
const submit = (words: string, more = ''): string =>
  `sh -c 'printf "Submitting job(s)"; true | { ${process.execPath} ${storer} ${words} ${more}; echo "exit $?"; } | cat'`;

/** A shell on a real terminal. */
async function shell(env: Record<string, string>) {
  const terminal = await openTerminal({
    command: ['bash', '--norc', '-i'],
    // A person's terminal, wherever this runs.
    env: { ...env, PS1: '$ ', HISTFILE: '', CI: '' },
    cols: 120,
  });
  cleanup(() => terminal.close());
  await terminal.waitFor('$');
  return terminal;
}

describe('on a terminal', () => {
  test('in the background it leaves the terminal alone: nobody is stopped, and the command to run is said', async () => {
    const point = accessPoint([]);
    const terminal = await shell(point.env);
    for (const strict of [false, true]) {
      await terminal.type(`clear; stty ${strict ? '' : '-'}tostop\r`);
      const out = join(point.base, `out-${strict}`);
      // With `tostop` even what is written would stop it, whoever writes: its words go into a file.
      await terminal.type(`${submit('cilogon')} >${out} 2>&1 &\r`);
      await until(
        () => existsSync(out) && /exit \d/.test(readFileSync(out, 'utf8')),
        `its end (tostop: ${strict})`,
        15_000,
      );
      expect(readFileSync(out, 'utf8')).toMatch(
        /^Submitting job\(s\)\ncredmon-storer: error: .*\ncredmon-storer: hint: run in a terminal, then submit again: credmon login cilogon\nexit 1\n$/,
      );
      await terminal.type('jobs; echo all told\r');
      const screen = await terminal.waitFor(/\nall told/);
      expect(screen).not.toMatch(/Stopped/);
    }
  });

  test('nor does one without a terminal of its own, though its streams are one', async () => {
    const point = accessPoint([]);
    const terminal = await shell(point.env);
    await terminal.type(`setsid -w ${submit('cilogon')}\r`);
    const screen = await terminal.waitFor(/exit \d/);
    expect(screen).toContain('run in a terminal, then submit again: credmon login cilogon');
    expect(screen).toContain('exit 1');
  });

  test('in the foreground the login is shown there and then, whatever the streams are, on a line of its own', async () => {
    const codes: string[] = [];
    const issuer = await issuerFor({ approves: false, onCode: (code) => void codes.push(code) });
    const scopes = ['offline_access', 'openid', 'storage.read:/'];
    const point = accessPoint([]);
    const knobs = [
      `CREDMON_STATUS_DIR = ${point.status}`,
      'CREDMON_PROVIDER_NAMES = cilogon',
      `cilogon_ISSUER = ${issuer.url}`,
      'cilogon_CLIENT_ID = public-cli',
      `cilogon_SCOPES = ${scopes.join(' ')}`,
      `SEC_CREDENTIAL_DIRECTORY_OAUTH = ${join(point.base, 'oauth')}`,
      `CREDMON_BROKER_SOCKET = ${join(point.base, 'no-broker')}`,
    ];
    point.tool('condor_config_val', `cat <<'END'\n${knobs.join('\n')}\nEND`);
    const terminal = await shell(point.env);
    const err = join(point.base, 'err');
    await terminal.type(`clear; ${submit('cilogon', `2>${err}`)}\r`);
    const screen = await terminal.waitFor(issuer.verificationPage, 15_000);
    expect(screen).not.toMatch(/Submitting job\(s\)[^\n]*(?:cilogon|http)/);
    await until(() => codes.length > 0, 'a code');
    await issuer.approve(codes[0] as string, { login: 'alice' });
    // What credmond does.
    await until(() => point.calls().some((call) => call.includes('add-oauth')), 'the grant to be stored');
    point.tell([health('cilogon', { scopes, stamp: '2' })], { pid: process.pid });
    await terminal.waitFor(/exit 0/, 20_000);
    expect(issuer.counts.logins).toBe(1);
    expect(point.stored('cilogon')).toMatchObject({ refresh_token: expect.any(String) });
    expect(point.calls().filter((call) => call.includes('add-oauth'))).toHaveLength(1);
    // The screen was the terminal's alone.
    expect(readFileSync(err, 'utf8').trim()).toBe('');
    expect(await terminal.history()).not.toMatch(/eyJ/);
  }, 60_000);

  test('whoever does not want to log in now ends it, and the submit is told', async () => {
    const issuer = await issuerFor({ approves: false });
    const point = accessPoint([]);
    const knobs = [
      `CREDMON_STATUS_DIR = ${point.status}`,
      'CREDMON_PROVIDER_NAMES = cilogon',
      `cilogon_ISSUER = ${issuer.url}`,
      'cilogon_CLIENT_ID = public-cli',
      'cilogon_SCOPES = openid',
      `CREDMON_BROKER_SOCKET = ${join(point.base, 'no-broker')}`,
    ];
    point.tool('condor_config_val', `cat <<'END'\n${knobs.join('\n')}\nEND`);
    const terminal = await shell(point.env);
    await terminal.type(`${submit('cilogon')}\r`);
    await terminal.waitFor(issuer.verificationPage, 15_000);
    await terminal.type('\x03');
    expect(await terminal.waitFor(/exit \d+|\^C[\s\S]*\$ /, 10_000)).not.toContain('exit 0');
    // The terminal is as it was: what is typed is shown.
    await terminal.type('echo still-$((1+1))\r');
    await terminal.waitFor('still-2');
  }, 60_000);

  test('but not where nobody wants that', async () => {
    const point = accessPoint([]);
    const terminal = await shell({ ...point.env, CREDMON_STORER_LOGIN: 'never' });
    await terminal.type(`${submit('cilogon')}\r`);
    expect(await terminal.waitFor(/exit \d/)).toContain('run in a terminal, then submit again: credmon login cilogon');
  });
});
