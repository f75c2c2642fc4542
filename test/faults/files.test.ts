import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Fault } from '../helpers/faults.js';
import { accessPoint, faultyFor, tree, until } from '../programs/kit.js';
import { noShim, type Rule, shim } from './shim.js';

const patience = 60_000;

type Point = ReturnType<typeof accessPoint>;
interface Scene {
  readonly p: Point;
  readonly user: string;
  /** Somebody logs in, to a grant with these scopes. */
  login(): void;
  /** A folder that others keep, of the same owner. */
  readonly elsewhere: string;
}

interface Deed {
  act(scene: Scene): void;
  /** When credmond has seen that: undoes it. */
  undo?(scene: Scene): void;
  /** Whether a grant is there afterwards: that of the login, or where it was undone the one that was there. */
  readonly stays: boolean;
}

/** What others do to a person's files. */
const deeds: Readonly<Record<string, Deed>> = {
  'the folder is deleted': {
    act: ({ p, user }) => rmSync(join(p.dir, user), { recursive: true }),
    stays: false,
  },
  'the folder is deleted and made again by a login': {
    act: ({ p, user, login }) => {
      rmSync(join(p.dir, user), { recursive: true });
      login();
    },
    stays: true,
  },
  'the folder is moved away, and made again by a login': {
    act: ({ p, user, login }) => {
      renameSync(join(p.dir, user), join(p.base, `${user}.away`));
      login();
    },
    stays: true,
  },
  'the folder is moved away, and comes back': {
    act: ({ p, user }) => renameSync(join(p.dir, user), join(p.base, `${user}.away`)),
    undo: ({ p, user }) => renameSync(join(p.base, `${user}.away`), join(p.dir, user)),
    stays: true,
  },
  'the folder is swapped for a symbolic link': {
    act: ({ p, user, elsewhere }) => {
      renameSync(join(p.dir, user), join(p.base, `${user}.away`));
      symlinkSync(elsewhere, join(p.dir, user));
    },
    stays: false,
  },
  'the .top is replaced by a login': { act: ({ login }) => login(), stays: true },
  'the .top is deleted, and then comes back by a login': {
    act: ({ p, user, login }) => {
      unlinkSync(p.at('test.top', user));
      login();
    },
    stays: true,
  },
  'condor_store_cred delete-oauth': {
    act: ({ p, user }) => {
      unlinkSync(p.at('test.top', user));
      rmSync(p.at('test.use', user), { force: true });
    },
    stays: false,
  },
  'the sweep of condor_credd': {
    act: ({ p, user }) => {
      rmSync(join(p.dir, `${user}.mark`));
      rmSync(join(p.dir, user), { recursive: true });
    },
    stays: false,
  },
};

/** Where in a refresh it happens. `stops`: how often credmond is stopped by the rule until it is there. */
const moments: readonly { readonly when: string; rule?(user: string): Rule; readonly stops: number }[] = [
  { when: 'before the issuer answers', stops: 0 },
  { when: 'before the new .top is written', rule: (user) => ['write', 'STOP', `/${user}/.credmon-`], stops: 1 },
  { when: 'before it is durable', rule: (user) => ['fsync', 'STOP', `/${user}/.credmon-`], stops: 1 },
  { when: 'before its folder is', rule: (user) => ['fsync', 'STOP', `/${user}$`], stops: 1 },
  { when: 'before the new .use is written', rule: (user) => ['write', 'STOP', `/${user}/.credmon-`], stops: 2 },
];

describe.concurrent('the files change under a refresh', () => {
  for (const { when, rule, stops } of moments) {
    const needs = rule === undefined ? '' : noShim;
    test.skipIf(needs)(`${when}: ${Object.keys(deeds).length} ways${needs}`, { timeout: 2 * patience }, async () => {
      const issuer = await faultyFor();
      const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
      const elsewhere = join(p.base, 'elsewhere');
      mkdirSync(elsewhere, { mode: 0o700 });
      for (const name of ['test.top', 'test.use', 'other.top'])
        writeFileSync(join(elsewhere, name), JSON.stringify({ refresh_token: name }), { mode: 0o600 });
      const outside = () => readdirSync(elsewhere).map((name) => readFileSync(join(elsewhere, name), 'utf8'));
      const untouched = outside();
      const disk = rule === undefined ? undefined : shim(p.dir);
      const daemon = p.credmond([], disk?.env ?? {});
      await until(() => existsSync(p.complete), 'credmond');
      const healths = (user: string) => p.status().credentials.filter((one: { user: string }) => one.user === user);

      for (const [n, [deed, { act, undo, stays }]] of Object.entries(deeds).entries()) {
        const user = `user${n}`;
        p.login(issuer.grant('first'), { user });
        await until(() => existsSync(p.at('test.use', user)), 'the first token');
        writeFileSync(join(p.dir, `${user}.mark`), '');
        const scene: Scene = { p, user, elsewhere, login: () => p.login(third, { user }) };
        const [second, third] = [issuer.grant('second'), issuer.grant('third')];

        const answer = held();
        if (rule === undefined) issuer.next('token', answer.fault);
        else disk?.rule(rule(user));
        p.login(second, { user });
        if (rule === undefined) await answer.arrived;
        for (let stop = 1; stop <= stops; stop++) {
          await disk?.stopped(daemon);
          if (stop < stops) disk?.goOn(daemon, rule?.(user) as Rule);
        }
        act(scene);
        if (rule === undefined) answer.release();
        else disk?.goOn(daemon);

        if (undo) {
          await until(() => daemon.err().includes(`${user}/test: removed`), `${deed}: it to be noticed`, patience);
          undo(scene);
        }
        if (stays) {
          const use = () => readFileSync(p.at('test.use', user), 'utf8');
          const scope = undo ? 'second' : 'third';
          await until(() => JSON.parse(use()).scope === scope, `${deed}: the token of the login`, patience);
          expect([deed, issuer.accepts(p.top('test', user)), p.top('test', user) === third]).toEqual([
            deed,
            true,
            false,
          ]);
          await until(() => healths(user)[0]?.state === 'fresh', `${deed}: the status`);
        } else {
          await until(() => daemon.err().includes(`${user}/test: removed`), `${deed}: it to be noticed`, patience);
          await until(() => healths(user).length === 0, `${deed}: the status`);
          const there = lstatSync(join(p.dir, user), { throwIfNoEntry: false });
          expect([deed, there?.isDirectory() ? tree(join(p.dir, user)) : []]).toEqual([deed, []]);
          expect([deed, there?.isSymbolicLink() ?? false]).toEqual([deed, deed.includes('link')]);
        }
        expect([deed, outside()]).toEqual([deed, untouched]);
        // What was rotated is rotated once, whoever wins.
        expect([deed, issuer.counts.reuse]).toEqual([deed, 0]);
        expect([deed, tree(p.dir).filter((path) => /\.credmon-.*tmp/.test(path))]).toEqual([deed, []]);
      }
      daemon.child.kill('SIGTERM');
      expect((await daemon.ended).code).toBe(0);
    });
  }
});

/** The right answer, when the test says so. */
function held() {
  let arrive = () => {};
  let release = () => {};
  const arrived = new Promise<void>((resolve) => {
    arrive = resolve;
  });
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const fault: Fault = {
    name: 'held',
    processed: true,
    act: ({ answer, send }) => {
      arrive();
      void released.then(() => send(answer.status, answer.body));
    },
  };
  return { fault, arrived, release: () => release() };
}
