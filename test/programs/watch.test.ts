import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openTerminal, type Terminal } from '../e2e/lab/terminal.js';
import { programs } from '../helpers/programs.js';
import { health, lineOf, summary } from '../status/watch/kit.js';
import { accessPoint, cleanup, faultyFor, home, issuerFor, until } from './kit.js';

const scopes = ['offline_access', 'openid', 'storage.read:/'];
const patience = 30_000;

/** A shell on a real terminal, with `credmon status --watch` typed into it. `pid`: a file for its number; `errors`: for what it says. */
async function watching(
  config: string,
  {
    env = {},
    pid = '/dev/null',
    errors = '/dev/stdout',
  }: { env?: Record<string, string>; pid?: string; errors?: string } = {},
): Promise<Terminal> {
  const terminal = await openTerminal({
    command: ['sh', '-i'],
    // A person's terminal, wherever this runs.
    env: { PS1: '$ ', ENV: '', CI: '', NO_COLOR: '', ...env },
    cols: 80,
    rows: 24,
  });
  let isOpen = true;
  const close = async () => {
    if (isOpen) await terminal.close();
    isOpen = false;
  };
  cleanup(close);
  await terminal.waitFor('$');
  const credmon = `${process.execPath} ${join(programs, 'bin/credmon.js')} --config ${config} status --watch`;
  await terminal.type(`clear; echo before; sh -c 'echo $$ >${pid}; exec ${credmon} 2>${errors}'; echo "exit $?"\r`);
  return { ...terminal, close };
}

/** The shell says whether its terminal echoes what is typed, and takes it line by line, as it did before. */
async function isAsBefore(terminal: Terminal): Promise<void> {
  const screen = await terminal.waitFor(/exit \d+/, patience);
  // What was there before is there again, and nothing of the list.
  expect(screen).toMatch(/^before\nexit \d+\n\$$/);
  await terminal.type('stty -a | tr " " "\\n" | grep -xE "echo;?|icanon;?" | sort | tr "\\n" "+"; echo\r');
  await terminal.waitFor(/\necho;?\+icanon;?\+/, patience);
}

describe.concurrent('credmon status --watch on a terminal', () => {
  test('everybody’s, by a real credmond: what comes is there, and that it has ended, and that it is back', async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    const terminal = await watching(p.config);
    await terminal.waitFor(/✗ credmond has told nothing/, patience);
    p.login(issuer.grant());
    const daemon = p.credmond();
    await terminal.waitFor(/▸ alice +test +fresh/, patience);
    expect(await terminal.screen()).toContain('everybody’s credentials');
    p.login(issuer.grant(), { user: 'bob', name: 'test_rw' });
    await terminal.waitFor(/\n {2}bob +test_rw +fresh/, patience);
    daemon.child.kill('SIGKILL');
    await terminal.waitFor(/✗ credmond does not run/, patience);
    expect(await terminal.screen()).toMatch(/bob +test_rw/);
    const again = p.credmond();
    await until(async () => !(await terminal.screen()).includes('✗'), 'it to be back', patience);
    expect(await terminal.screen()).toContain(`credmond ${again.pid}`);
    await terminal.type('q');
    await isAsBefore(terminal);
    expect(await terminal.screen()).toContain('exit 0');
    again.child.kill('SIGTERM');
    await again.ended;
  });

  test('100,000: keys that are typed while they are read are none of them lost', async () => {
    const p = accessPoint({ providers: { test: { issuer: 'https://test.example' } } });
    mkdirSync(p.statusDir);
    const fd = openSync(join(p.statusDir, 'all.json'), 'w', 0o640);
    writeSync(fd, `${summary(Date.now() as never)}\n`);
    for (let i = 0; i < 100; i++) {
      const users = Array.from({ length: 1000 }, (_, n) => `u${String(1000 * i + n).padStart(5, '0')}`);
      writeSync(fd, users.map((user) => `${lineOf(user, health(user))}\n`).join(''));
    }
    closeSync(fd);
    const terminal = await watching(p.config);
    await terminal.waitFor(/reading …|100,000 credentials/, patience);
    for (const key of '/u9876') await terminal.type(key);
    await terminal.waitFor(/ 1 of 10 \(100,000 in all\), worst first, with “u9876”/, patience);
    await terminal.type('\u001B[B\u001B[B');
    await terminal.waitFor(/ 3 of 10 \(100,000 in all\), worst first, with “u9876”/, patience);
    const screen = await terminal.screen();
    expect(screen).toContain('100,000 credentials   100,000 people   100,000 fresh');
    expect(screen).toMatch(/ {2}u98760 .*\n {2}u98761 .*\n▸ u98762 /);
    // Of very many only what fits is there, at any size. An Escape with a letter at its heels would be Alt and that letter.
    await terminal.type('\u001B');
    await terminal.waitFor(/ of 100,000, worst first/, patience);
    for (const [cols, rows] of [
      [40, 24],
      [80, 10],
      [200, 50],
    ] as const) {
      await terminal.resize(cols, rows);
      await terminal.type(rows === 24 ? 'G' : 'g');
      const place = rows === 24 ? ' 100,000 of 100,000' : '▸ u00000';
      // Nothing of how it was before is left.
      const isWhole = async () => {
        const shown = (await terminal.screen()).split('\n');
        const listed = shown.filter((line) => /^[ ▸] u\d{5} /.test(line)).map((line) => line.slice(2, 8));
        const marks = shown.filter((line) => line.startsWith('▸'));
        const most = Number(listed.at(-1)?.slice(1)) - Number(listed[0]?.slice(1)) + 1;
        return shown.join().includes(place) && marks.length === 1 && listed.length > 2 && listed.length === most;
      };
      await until(isWhole, `${cols}x${rows}`, patience);
    }
    await terminal.resize(80, 24);
    await terminal.type('\u0003');
    await isAsBefore(terminal);
    expect(await terminal.screen()).toContain('exit 130');
  });

  test.each([
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s: the terminal is as it was', async (signal, code) => {
    const p = accessPoint({ providers: { test: { issuer: 'https://test.example' } } });
    const pid = join(p.base, 'pid');
    const terminal = await watching(p.config, { pid });
    await terminal.waitFor(/✗ credmond has told nothing/, patience);
    process.kill(Number(readFileSync(pid, 'utf8')), signal);
    await isAsBefore(terminal);
    expect(await terminal.screen()).toContain(`exit ${code}`);
  });

  test('one that was stopped goes on where it was', async () => {
    const p = accessPoint({ providers: { test: { issuer: 'https://test.example' } } });
    mkdirSync(p.statusDir);
    const lines = [summary(Date.now() as never), lineOf('u1', health('u1')), lineOf('u2', health('u2'))];
    writeFileSync(join(p.statusDir, 'all.json'), `${lines.join('\n')}\n`, { mode: 0o640 });
    const pid = join(p.base, 'pid');
    const terminal = await watching(p.config, { pid });
    await terminal.waitFor(/▸ u1 /, patience);
    // The shell is its group's leader, and has to see it stop.
    const number = Number(readFileSync(pid, 'utf8'));
    process.kill(number, 'SIGSTOP');
    await terminal.waitFor(/Stopped/, patience);
    // Not every shell takes the terminal back to taking CR for a new line.
    await terminal.type('fg\n');
    await until(async () => /▸ u1 (?![\s\S]*Stopped)/.test(await terminal.screen()), 'all of it anew', patience);
    await terminal.type('j');
    await terminal.waitFor(/▸ u2 /, patience);
    await terminal.type('q');
    await terminal.waitFor(/^before\n/, patience);
  });

  test('a terminal that goes away takes it along', async () => {
    const p = accessPoint({ providers: { test: { issuer: 'https://test.example' } } });
    const pid = join(p.base, 'pid');
    const errors = join(p.base, 'errors');
    const terminal = await watching(p.config, { pid, errors });
    await terminal.waitFor(/✗ credmond has told nothing/, patience);
    const number = readFileSync(pid, 'utf8').trim();
    await terminal.close();
    await until(() => !existsSync(`/proc/${number}/exe`), 'its end', patience);
    expect(readFileSync(errors, 'utf8')).toBe('');
  });

  test('NO_COLOR is heeded, bold stays', async () => {
    const p = accessPoint({ providers: { test: { issuer: 'https://test.example' } } });
    const terminal = await watching(p.config, { env: { NO_COLOR: '1' } });
    await terminal.waitFor(/✗ credmond has told nothing/, patience);
    const raw = await terminal.raw();
    expect(raw).toContain('\u001B[1m');
    for (const colour of ['31', '32', '33', '36']) expect(raw).not.toContain(`\u001B[${colour}m`);
  });

  test('a person’s own, as they log in', async () => {
    const issuer = await issuerFor();
    const h = home({ providers: { test: { issuer: issuer.url, scopes } } });
    const terminal = await watching(h.config, { env: h.env });
    await terminal.waitFor('You are not logged in to any provider. Run: credmon login', patience);
    expect((await h.credmon(['login', '--json']).ended).code).toBe(0);
    const screen = await terminal.waitFor(/▸ test +fresh/, patience);
    expect(screen).toContain('your credentials');
    expect(screen).toContain('No credmond --user runs');
    await terminal.type('q');
    await isAsBefore(terminal);
  });

  test.each([
    ['TERM=dumb', { TERM: 'dumb' }],
    ['a screen reader', { INK_SCREEN_READER: 'true' }],
  ])('%s: the table, in lines, when it changes', async (_, env) => {
    const issuer = await issuerFor();
    const h = home({ providers: { test: { issuer: issuer.url, scopes } } });
    const terminal = await watching(h.config, { env: { ...h.env, ...env } });
    await terminal.waitFor('You are not logged in to any provider. Run: credmon login', patience);
    expect((await h.credmon(['login', '--json']).ended).code).toBe(0);
    // What was there stays above it.
    const screen = await terminal.waitFor(/test +login +fresh/, patience);
    expect(screen).toMatch(/^before\nYou are not logged in/m);
    await terminal.type('\u0003');
    await terminal.waitFor('exit 130', patience);
  });
});

test('--json is one object a line, on a terminal or not, and nothing else', async () => {
  const issuer = await issuerFor();
  const h = home({ providers: { test: { issuer: issuer.url, scopes } } });
  const watch = h.credmon(['status', '--watch', '--json']);
  await watch.says(/"credentials":\[\]/);
  expect((await h.credmon(['login', '--json']).ended).code).toBe(0);
  await watch.says(/"state":"fresh"/);
  watch.child.kill('SIGTERM');
  const { code, out } = await watch.ended;
  expect(code).toBe(143);
  const states = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line).credentials.map(({ state }: { state: string }) => state));
  expect([states[0], states.at(-1)]).toEqual([[], ['fresh']]);
});
