import { appendFileSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Failed } from '../../../src/core/failure.js';
import type { Health } from '../../../src/core/health.js';
import { later, seconds } from '../../../src/core/time.js';
import { everyoneFeed, type Feed, type Own, ownFeed } from '../../../src/status/watch/feeds.js';
import { Ledger } from '../../../src/status/watch/ledger.js';
import { List } from '../../../src/status/watch/list.js';
import { watchScreen } from '../../../src/status/watch/screen.js';
import { type HandClock, handClock } from '../../helpers/clock.js';
import { FakeStdin, FakeTerminal } from '../../login/faces/terminal.js';
import { health, lineOf, summary } from './kit.js';

let dir: string;
let stop: AbortController;
let clock: HandClock;
let ended: Promise<unknown> | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'credmon-screen-'));
  stop = new AbortController();
  clock = handClock();
});
afterEach(async () => {
  stop.abort();
  await ended;
  rmSync(dir, { recursive: true, force: true });
});

/** Ours, which are gone when the screen is. */
const listeners = () => ['uncaughtExceptionMonitor', 'SIGCONT', 'exit'].map((event) => process.listenerCount(event));
const before = listeners();

interface Options {
  readonly columns?: number;
  readonly rows?: number;
  readonly colour?: boolean;
  readonly own?: () => Promise<Own>;
  readonly aside?: () => string;
  readonly keyboard?: boolean;
  /** Each look at the clock takes two milliseconds, and what has been read is not waited for. */
  readonly impatient?: boolean;
}

async function setUp({
  columns = 80,
  rows = 24,
  colour = false,
  own,
  aside,
  impatient = false,
  keyboard = true,
}: Options = {}) {
  const terminal = new FakeTerminal(columns, rows);
  const stdin = new FakeStdin(keyboard);
  const list = new List();
  const ledger = new Ledger(clock.now(), list);
  const feed: Feed = own
    ? ownFeed(ledger, own)
    : everyoneFeed({ dir, ledger, clock, sweep: seconds(60), log: '/var/log/condor/CredMonOAuthLog' });
  let looks = 0;
  const run = watchScreen({
    stdin: stdin as unknown as NodeJS.ReadStream,
    stdout: terminal,
    clock: impatient ? { ...clock, steady: () => 2 * looks++ } : clock,
    feed,
    ledger,
    list,
    colour,
    warning: seconds(0),
    providers: new Map(),
    stop: stop.signal,
    ...(aside && { aside }),
  });
  ended = run;
  const still = async () => {
    for (let i = 0; i < 20_000 && (list.busy || !feed.isRead || i < 4); i++) await new Promise(setImmediate);
  };
  if (!impatient) await still();
  return {
    terminal,
    run,
    still,
    /** Each one by itself, as a terminal sends them; what it draws is there at once. */
    type: (...keys: readonly string[]) => {
      for (const key of keys) stdin.type(key);
    },
    stdin,
    /** The rows of the list. */
    listed: () =>
      terminal
        .screen()
        .filter((row) => /^[▸ ] u/.test(row))
        .map((row) => row.trimEnd()),
    pass: async (ms: number) => {
      await clock.pass(ms);
      await still();
    },
  };
}

const file = (): string => join(dir, 'all.json');
const at = (seconds: number) => later(clock.now(), seconds);
const one = (user: string, more: Partial<Health> = {}): string =>
  lineOf(user, health(user, { since: at(-600), life: { issued: at(-30), expires: at(3630) }, due: at(1830), ...more }));
/** Begins it anew. `pid`: somebody who lives for ever, wherever this runs. */
const write = (lines: readonly string[], { pid = 1, told = clock.now() } = {}): void => {
  writeFileSync(`${file()}.new`, `${[summary(told, pid), ...lines].join('\n')}\n`);
  renameSync(`${file()}.new`, file());
};
const add = (...lines: readonly string[]): void => appendFileSync(file(), `${lines.join('\n')}\n`);
const without = { due: undefined } as unknown as Partial<Health>;
const dead: Partial<Health> = {
  ...without,
  state: 'login-needed',
  trouble: { kind: 'login-needed', what: 'the issuer says invalid_grant', hint: 'run: credmon login osdf' },
};
const mixed = () => [
  one('u1', { provider: 'cilogon', service: 'cilogon', issuer: 'https://cilogon.org' }),
  one('u2', { handle: 'rw', ...dead }),
  one('u3', { suspect: at(-100) }),
  one('u4', { state: 'retrying', due: at(20), trouble: { kind: 'transient', what: 'no answer' } }),
  one('u5', { state: 'new', life: undefined, due: at(0) } as unknown as Partial<Health>),
];
const crowd = (count: number, more: (i: number) => Partial<Health> = () => ({})) =>
  Array.from({ length: count }, (_, i) => one(`u${String(i).padStart(6, '0')}`, more(i)));

describe('what an administrator sees', () => {
  test('at 80x24', async () => {
    write(mixed());
    const { terminal } = await setUp();
    expect(terminal.text()).toMatchInlineSnapshot(`
      " credmon status: everybody’s credentials               credmond 1, told 0 s ago
       5 credentials   5 people   1 login needed   1 retrying   1 waiting   2 fresh
       in trouble: osdf 3 of 4   cilogon 0 of 1
       first token ends in 60 min: u2 osdf_rw
       ! 1 login may be lost: u3 osdf. The next refresh tells; /lost lists them.

        USER  PROVIDER  STATE         ENDS IN   REFRESH   TROUBLE
      ▸ u2    osdf_rw   login needed  60 min    –         the issuer says invalid_gra…
        u3    osdf      maybe lost    60 min    30 min
        u4    osdf      retrying      60 min    20 s      no answer
        u5    osdf      waiting       –         now
        u1    cilogon   fresh         60 min    30 min






       1 of 5, worst first
       u2 osdf_rw
       the issuer says invalid_grant (since 10 min ago)
       → u2 has to run: credmon login osdf
       ↑↓ move   / filter   t trouble   s sort   Enter details   ? help   q quit"
    `);
    expect([terminal.alternate, terminal.cursorShown]).toEqual([true, false]);
  });

  test('at 40x24', async () => {
    write(mixed());
    const { terminal } = await setUp({ columns: 40 });
    expect(terminal.text()).toMatchInlineSnapshot(`
      " credmon status
       5 credentials   5 people
       1 login needed   1 retrying   … 2 more
       in trouble: osdf 3 of 4   … 1 more
       first token ends in 60 min: u2 osdf_rw
       ! 1 login may be lost: u3 osdf. The
         next refresh tells; /lost lists them.

        USER  PROVIDER  STATE         ENDS IN
      ▸ u2    osdf_rw   login needed  60 min
        u3    osdf      maybe lost    60 min
        u4    osdf      retrying      60 min
        u5    osdf      waiting       –
        u1    cilogon   fresh         60 min




       1 of 5, worst first
       u2 osdf_rw
       the issuer says invalid_grant (since 1…
       → u2 has to run: credmon login osdf
       ↑↓ move   / filter   t trouble   q quit"
    `);
  });

  test('on a very low terminal the list, and what is wrong', async () => {
    write(mixed(), { told: at(-7200) });
    const { terminal } = await setUp({ rows: 12 });
    expect(terminal.text()).toMatchInlineSnapshot(`
      " ! 1 login may be lost: u3 osdf. The next refresh tells; /lost lists them.
       ✗ credmond runs, but has told nothing for 2 h. Look at the disk, its log
         (/var/log/condor/CredMonOAuthLog) and credmon doctor.
        USER  PROVIDER  STATE         ENDS IN   REFRESH   TROUBLE
      ▸ u2    osdf_rw   login needed  60 min    –         the issuer says invalid_gra…
        u3    osdf      maybe lost    60 min    30 min
        u4    osdf      retrying      60 min    20 s      no answer
        u5    osdf      waiting       –         now
        u1    cilogon   fresh         60 min    30 min

       ↑↓ move   / filter   t trouble   s sort   Enter details   ? help   q quit"
    `);
  });

  test.each([
    [1, 1],
    [2, 3],
    [10, 5],
    [23, 9],
    [300, 80],
  ])('on %i columns and %i rows nothing is torn', async (columns, rows) => {
    write(mixed());
    const { terminal, type, pass } = await setUp({ columns, rows });
    for (const key of ['j', '?', '?', '\r', '\r', '/', 'u', '\r', 'G']) {
      type(key);
      expect(terminal.screen().length).toBeLessThanOrEqual(rows);
      expect(terminal.history().split('\n').length).toBeLessThanOrEqual(rows);
    }
    terminal.resize(80, 24);
    await pass(1000);
    expect(terminal.text()).toContain('with “u”');
  });

  test('all there is to say of one, and what the keys do', async () => {
    write(mixed());
    const { terminal, type } = await setUp();
    type('\r');
    expect(terminal.text()).toMatchInlineSnapshot(`
      " credmon status: everybody’s credentials               credmond 1, told 0 s ago

       u2 osdf_rw
       provider  osdf (https://osdf.example)
       state     login needed, since 10 min
       token     ends in 60 min of 61 min

       the issuer says invalid_grant (since 10 min ago)
       → u2 has to run: credmon login osdf













       Esc back"
    `);
    type('\r', '?');
    expect(terminal.text()).toMatchInlineSnapshot(`
      " credmon status: everybody’s credentials               credmond 1, told 0 s ago

       ↑↓      up, down, PgUp, PgDn, Home, End (or k, j, b, space, g, G): move
       /       filter by text: names, states, troubles; Enter keeps it, Esc ends it
       t       only those in trouble, or all
       s       sort by trouble, user, provider, end, next refresh (S: backwards)
       Enter   all there is to say of one
       ?       this page
       q       quit (or Ctrl-C)

       ENDS IN: of the token that jobs have. REFRESH: when the next is fetched, or
       tried for. Late: more than a minute past that. Maybe lost: credmond was killed
       before an issuer’s answer came, which may have replaced the refresh token;
       those are tried first, and whose login is lost is told so, with the command.








       Esc back"
    `);
    type('?');
    expect(terminal.text()).toContain('1 of 5, worst first');
  });

  test('colours only where they are wanted; NO_COLOR leaves bold and dim', async () => {
    write(mixed());
    const { terminal } = await setUp();
    expect(
      terminal
        .cellRows()
        .flat()
        .some((cell) => cell?.fg !== undefined),
    ).toBe(false);
    stop.abort();
    await ended;
    stop = new AbortController();
    const other = await setUp({ colour: true });
    const row = other.terminal.cellRows().find((cells) =>
      cells
        .map((cell) => cell.text)
        .join('')
        .startsWith('▸ u2'),
    );
    const painted = row?.map((cell) => (cell.fg === 1 ? cell.text : '')).join('');
    expect(painted?.trim()).toBe('login needed');
  });

  test.each([80, 300])('no control character of a name or a trouble comes through (%i columns)', async (columns) => {
    const evil = 'x\u001B[2J\u001B]0;y\u0007\u009B31m\u202E\r\n\u0008z';
    const trouble = { kind: 'transient', what: evil, hint: evil } as const;
    write([
      one(`u${evil}`, { service: evil, provider: evil, issuer: evil, state: 'retrying', trouble, scopes: [evil] }),
    ]);
    const { terminal, type } = await setUp({ columns });
    for (const keys of ['', '\r', '\r', '/', evil, '\r']) type(keys);
    // The terminal here throws at any control character that is not its own.
    expect(terminal.history()).toContain('ux31m z');
    for (const sequence of ['\u001B]0', '\u009B', '\u202E', '\u0008']) expect(terminal.written).not.toContain(sequence);
  });
});

describe('the list', () => {
  test('only what fits is drawn of very many; keys go through it', async () => {
    write(crowd(1000));
    const { listed, type, terminal } = await setUp();
    expect(listed()).toHaveLength(12);
    expect(listed()[0]).toMatch(/^▸ u000000/);
    type('\u001B[6~', '\u001B[B', '\u001B[B');
    expect(listed().at(-1)).toMatch(/^▸ u000013/);
    type('\u001B[F');
    expect(listed().at(-1)).toMatch(/^▸ u000999/);
    type('\u001B[5~', '\u001B[A', '\u001B[H');
    expect(listed()[0]).toMatch(/^▸ u000000/);
    expect(terminal.text()).toContain('1 of 1,000');
    // What comes in one piece is several keys.
    type('jjjj');
    expect(listed()[4]).toMatch(/^▸ u000004/);
  });

  test('is filtered as one types, and sorted otherwise', async () => {
    write(crowd(300, (i) => ({ due: at(10_000 - i), ...(i % 100 === 7 && dead) })));
    const { listed, type, still, terminal } = await setUp();
    type('/', '1', '2');
    await still();
    expect(terminal.text()).toContain('/12');
    expect(listed().map((row) => row.slice(2, 9))).toEqual(
      ['u000012', 'u000112', ...Array.from({ length: 10 }, (_, i) => `u00012${i}`), 'u000212'].slice(0, 12),
    );
    type('\u007F');
    await still();
    expect(terminal.text()).toContain('/1');
    type('\u0015', '\r', 't');
    await still();
    expect(listed().map((row) => row.slice(2, 9))).toEqual(['u000007', 'u000107', 'u000207']);
    type('t', 'S');
    await still();
    expect(listed()[0]).toMatch(/^▸ u000299/);
    expect(terminal.text()).toContain('by next refresh');
  });

  test('what is added to the file is there within a second; what is begun anew takes its place', async () => {
    write(mixed());
    const { listed, pass, terminal } = await setUp();
    add(one('u2', { handle: 'rw' }), one('u6', dead), summary(at(0), 1), '{"user":"u7","credent');
    await pass(1000);
    expect(listed().map((row) => row.slice(2, 4))).toEqual(['u6', 'u3', 'u4', 'u5', 'u1', 'u2']);
    add(lineOf('u3'), lineOf('u4'));
    await pass(1000);
    expect(listed().map((row) => row.slice(2, 4))).toEqual(['u6', 'u5', 'u1', 'u2']);
    write([one('u1'), one('u9', dead)]);
    await pass(1000);
    expect(listed().map((row) => row.slice(2, 4))).toEqual(['u9', 'u1']);
    expect(terminal.text()).toContain('2 credentials   2 people');
  });

  test('a row that was gone to stays under the keys while others come', async () => {
    write(crowd(50));
    const { listed, pass, type } = await setUp();
    type('jjj');
    add(one('u9', dead), one('u8', dead));
    await pass(1000);
    expect(listed()[0]).toMatch(/^ {2}u000000/);
    expect(listed()[3]).toMatch(/^▸ u000003/);
    type('\u001B[A', '\u001B[A', '\u001B[A', '\u001B[A');
    expect(listed()[0]).toMatch(/^▸ u9/);
  });

  test('life left and the next refresh count down, though nothing is read; what has ended says so', async () => {
    write([one('u1', { life: { issued: at(0), expires: at(100) }, due: at(3) })]);
    const { listed, pass, terminal } = await setUp();
    rmSync(file());
    expect(listed()[0]).toMatch(/fresh +100 s +3 s$/);
    await pass(2000);
    expect(listed()[0]).toMatch(/fresh +98 s +1 s$/);
    await pass(98_000);
    expect(listed()[0]).toMatch(/ended +ended +now$/);
    expect(terminal.text()).toContain('1 late   1 token has ended');
  });
});

describe('very many', () => {
  test('100,000: a key is answered while they are being read, and the list stays as it is wished for', async () => {
    write(crowd(100_000, (i) => ({ ...(i === 99_999 && dead) })));
    const { terminal, type, listed, still } = await setUp({ impatient: true });
    const shown = () => Number(/of ([\d,]+)/.exec(terminal.text())?.[1]?.replaceAll(',', '') ?? 0);
    const counts: number[] = [];
    const moves: string[] = [];
    for (let i = 0; shown() < 100_000 && i < 20_000; i++) {
      await new Promise(setImmediate);
      if (shown() === 0) continue;
      type('j');
      moves.push(listed().find((row) => row.startsWith('▸')) ?? '');
      if (counts.at(-1) !== shown()) counts.push(shown());
    }
    // Keys were answered at each of many stages, by a move each.
    expect(counts.length).toBeGreaterThan(3);
    expect(moves.slice(0, 50).every((row, i) => i === 0 || row !== moves[i - 1])).toBe(true);
    await still();
    type('g');
    expect(listed()[0]).toMatch(/^▸ u099999 +osdf +login needed/);
    expect(terminal.text()).toContain('100,000 credentials   100,000 people   1 login needed   99,999 fresh');
  }, 60_000);
});

describe('what may be wrong', () => {
  test('no file, then one; what has been read stays', async () => {
    const { terminal, pass } = await setUp();
    expect(terminal.text().replaceAll(dir, 'DIR')).toMatch(/✗ credmond has told nothing: there is no\s+DIR\/all\.json/);
    expect(terminal.text()).toContain('condor_on -subsystem CREDMON_OAUTH');
    write(mixed());
    await pass(1000);
    expect(terminal.text()).toContain('5 credentials');
    expect(terminal.text()).not.toContain('✗');
    rmSync(file());
    await pass(1000);
    expect(terminal.text()).toContain('✗ credmond has told nothing');
    expect(terminal.text()).toContain('5 credentials');
  });

  test('what is no file of credmond’s', async () => {
    symlinkSync('/etc/hosts', file());
    const { terminal } = await setUp();
    expect(terminal.text()).toMatch(/✗ Cannot read .* \(ELOOP\)/);
  });

  test('credmond does not run, and comes back', async () => {
    // Nobody has such a number.
    write(mixed(), { pid: 2 ** 22 + 1, told: at(-300) });
    const { terminal, pass } = await setUp();
    const said = terminal.text().replaceAll(/\s+/g, ' ');
    expect(said).toContain('✗ credmond does not run: nothing is refreshed, and what stands here is 5 min old. Run:');
    expect(said).toContain('says its log (/var/log/condor/CredMonOAuthLog).');
    write(mixed());
    await pass(1000);
    expect(terminal.text()).not.toContain('✗');
  });

  test('it runs and tells nothing', async () => {
    write(mixed(), { told: at(-190) });
    const { terminal, pass } = await setUp();
    expect(terminal.text()).toContain('✗ credmond runs, but has told nothing for 3 min');
    add(summary(at(0), 1));
    await pass(1000);
    expect(terminal.text()).not.toContain('✗');
  });

  test('the system lets it watch no more folders, until it does', async () => {
    write(mixed());
    const { terminal, pass } = await setUp();
    add(summary(at(0), 1, { unwatched: 'ENOSPC' }));
    await pass(1000);
    const said = terminal.text().replaceAll(/\s+/g, ' ');
    expect(said).toContain('✗ Not every folder can be watched (ENOSPC)');
    expect(said).toContain(
      'Run: sysctl -w fs.inotify.max_user_watches=$((2 * $(sysctl -n fs.inotify.max_user_watches)))',
    );
    add(summary(at(0), 1));
    await pass(1000);
    expect(terminal.text()).not.toContain('✗');
  });
});

describe('a person', () => {
  const own = (more: Partial<Own> = {}): (() => Promise<Own>) => {
    const healths = [health('me', { life: { issued: at(0), expires: at(50) }, due: at(20) })];
    return async () => ({ healths, teller: { name: 'credmond 7', at: at(0) }, ...more });
  };

  test('sees their own, without the names of people', async () => {
    const { terminal } = await setUp({ own: own() });
    expect(terminal.text()).toMatchInlineSnapshot(`
      " credmon status: your credentials                      credmond 7, told 0 s ago
       1 credential   1 fresh
       first token ends in 50 s: osdf

        PROVIDER  STATE         ENDS IN   REFRESH   TROUBLE
      ▸ osdf      fresh         50 s      20 s












       1 of 1, worst first
       osdf


       ↑↓ move   / filter   t trouble   s sort   Enter details   ? help   q quit"
    `);
  });

  test('who has none is told what to do; what is wrong is said, and is over when it is', async () => {
    let answer: Own | Failed = new Failed({ kind: 'storage', what: 'no home', hint: 'set HOME' });
    const { terminal, pass } = await setUp({
      own: async () => {
        if (answer instanceof Failed) throw answer;
        return answer;
      },
    });
    expect(terminal.text()).toContain('✗ no home: set HOME');
    answer = { healths: [], notice: 'No credmond --user runs.' };
    await pass(1000);
    expect(terminal.text()).toContain('You are not logged in to any provider. Run: credmon login');
    expect(terminal.text()).toContain('✗ No credmond --user runs.');
    answer = await own()();
    await pass(1000);
    expect(terminal.text()).toContain('1 of 1');
    expect(terminal.text()).not.toContain('✗');
  });
});

test('what else there is to say stands below the totals, where there is room for it', async () => {
  write(mixed());
  const { terminal } = await setUp({ aside: () => 'ssh logins since yesterday: 3' });
  expect(terminal.text()).toContain('\n ssh logins since yesterday: 3\n');
});

test('without a keyboard there are no keys to name', async () => {
  write(mixed());
  const { terminal, stdin } = await setUp({ keyboard: false });
  expect(terminal.text().endsWith('\n Ctrl-C quits')).toBe(true);
  expect(stdin.raw).toBe(false);
});

test('one that was stopped, and goes on, draws all of it anew', async () => {
  write(mixed());
  const { terminal, still } = await setUp();
  const before = terminal.text();
  terminal.write('\u001B[2J\r$ fg');
  process.emit('SIGCONT', 'SIGCONT');
  await still();
  expect(terminal.text()).toBe(before);
});

describe('the end', () => {
  test.each([
    ['q', 'quit'],
    ['\u0003', 'cancelled'],
    // With the key before it in one piece, as when it was busy.
    ['g\u0003', 'cancelled'],
    ['jjq', 'quit'],
  ])('by %j: the terminal is as it was', async (key, how) => {
    write(mixed());
    const { terminal, type, run, stdin } = await setUp();
    expect(stdin.raw).toBe(true);
    type(key);
    expect(await run).toBe(how);
    expect([terminal.alternate, terminal.cursorShown, stdin.raw]).toEqual([false, true, false]);
    expect(terminal.written.endsWith('\u001B[?1049l\u001B[?25h')).toBe(true);
    expect([clock.timers, listeners()]).toEqual([0, before]);
  });

  test('by a signal, also before the beginning', async () => {
    write(mixed());
    const { terminal, run } = await setUp();
    stop.abort('SIGTERM');
    expect(await run).toBe('cancelled');
    expect([terminal.alternate, terminal.cursorShown]).toEqual([false, true]);
    const { run: another } = await setUp();
    expect(await another).toBe('cancelled');
  });

  test('by a bug: what it was is told when the terminal is as it was', async () => {
    write(mixed());
    const { terminal, run, pass } = await setUp();
    Object.defineProperty(terminal, 'columns', {
      get() {
        throw new Error('a bug');
      },
    });
    const failed = run.catch(String);
    await pass(1000);
    expect(await failed).toBe('Error: a bug');
    ended = undefined;
    expect([terminal.alternate, terminal.cursorShown]).toEqual([false, true]);
  });
});
