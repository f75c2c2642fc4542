import fc from 'fast-check';
import { modes, type Rotation } from './issuer.js';
import { ids, longestLife, users, World, type WorldOptions, works } from './world.js';

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

const record = <T extends string, R extends Record<string, unknown>>(
  act: T,
  rest: { [K in keyof R]: fc.Arbitrary<R[K]> },
) => fc.record({ act: fc.constant(act), ...rest }) as fc.Arbitrary<{ readonly act: T } & Readonly<R>>;

const who = fc.nat({ max: ids.length - 1 });
const at = fc.nat({ max: 1 });
const user = fc.constantFrom(...users);
/** Whether the daemon is told of it at once. */
const seen = fc.boolean();

const acts = {
  login: record('login', { who, seen }),
  logout: record('logout', { who, seen }),
  touch: record('touch', { who, seen }),
  scopes: record('scopes', { who, seen }),
  damage: record('damage', { who, seen }),
  folder: record('folder', { user, away: fc.boolean(), seen }),
  sweep: record('sweep', {}),
  issuer: record('issuer', { at, mode: fc.constantFrom(...modes) }),
  life: record('life', { at, life: fc.constantFrom(20, 60, 300, 450, 1200, 3600, longestLife / second) }),
  disk: record('disk', { user, work: fc.constantFrom(...works), bad: fc.boolean() }),
  steps: record('steps', { n: fc.nat({ max: 12 }) }),
  forward: record('forward', {
    ms: fc.constantFrom(0, 20, 50, 2 * second, 15 * second, 2 * minute, 10 * minute, 20 * minute, hour),
  }),
  part: record('part', { timers: fc.integer({ min: 1, max: 4 }), n: fc.nat({ max: 8 }) }),
  leap: record('leap', { ms: fc.constantFrom(-day, -hour, -minute, minute, hour, day) }),
  suspend: record('suspend', { ms: fc.constantFrom(minute, hour, day), still: fc.boolean() }),
  kill: record('kill', { told: fc.boolean() }),
  stop: record('stop', {}),
  start: record('start', {}),
  config: record('config', { at, there: fc.boolean() }),
};

type Act = keyof typeof acts;

/** Any of them, as often as their weights say; those without one do not occur. */
const commandsOf = (weights: Partial<Record<Act, number>>): fc.Arbitrary<Command> =>
  fc.oneof(...Object.entries(weights).map(([act, weight]) => ({ weight, arbitrary: acts[act as Act] })));

const usual = commandsOf({
  ...{ login: 6, logout: 2, touch: 1, scopes: 1, damage: 1, folder: 1, sweep: 1, issuer: 5, life: 1, disk: 2 },
  ...{ steps: 5, part: 4, forward: 8, leap: 1, suspend: 1, kill: 1, stop: 1, start: 2, config: 1 },
});
/** Processes end in the middle of what they do, and answers are lost. */
const crashing = commandsOf({
  ...{ login: 4, logout: 1, touch: 1, scopes: 1, folder: 1, sweep: 1, issuer: 3, disk: 1 },
  ...{ steps: 4, part: 9, forward: 3, kill: 5, stop: 1, start: 8 },
});

type Command = { [A in Act]: (typeof acts)[A] extends fc.Arbitrary<infer C> ? C : never }[Act];

/** What may happen to a daemon, its issuers, its disk and its people, one thing after the other. */
export interface History {
  readonly rotations: readonly Rotation[];
  readonly chance: number;
  readonly commands: readonly Command[];
}

const historiesOf = (command: fc.Arbitrary<Command>, maxLength: number): fc.Arbitrary<History> =>
  fc.record({
    rotations: fc.constantFrom<readonly Rotation[]>(['strict', 'lenient'], ['strict', 'strict'], ['strict', 'keeps']),
    chance: fc.oneof(fc.constant(0), fc.nat({ max: 2 ** 31 - 2 })),
    commands: fc.array(command, { minLength: 1, maxLength }),
  });

export const histories: fc.Arbitrary<History> = historiesOf(usual, 24);
export const crashes: fc.Arbitrary<History> = historiesOf(crashing, 40);

async function act(world: World, command: Command): Promise<void> {
  switch (command.act) {
    case 'login':
    case 'logout':
    case 'touch':
    case 'scopes':
    case 'damage':
      world[command.act](command.who);
      if (command.seen) world.look(ids[command.who]?.user as string);
      return;
    case 'folder':
      world.folder(command.user, command.away);
      if (command.seen) world.look(command.user);
      return;
    case 'sweep':
      return world.sweep();
    case 'issuer':
      return world.issuer(command.at, command.mode);
    case 'life':
      return world.life(command.at, command.life);
    case 'disk':
      return world.disk(command.user, command.work, command.bad);
    case 'steps':
      return world.steps(command.n);
    case 'forward':
      return world.forward(command.ms);
    case 'part':
      return world.part(command.timers, command.n);
    case 'leap':
      return world.leap(command.ms);
    case 'suspend':
      return world.suspend(command.ms, command.still);
    case 'kill':
      return world.kill(command.told);
    case 'stop':
      return world.stop();
    case 'start':
      return world.start();
    case 'config':
      return world.config(command.at, command.there);
  }
}

/** Plays it, and then lets everything come to rest. Throws the first rule that was broken. */
export async function play(
  { rotations, chance, commands }: History,
  options: Omit<WorldOptions, 'rotations' | 'chance'>,
): Promise<World> {
  const world = new World({ ...options, rotations, chance });
  const judge = (after: string) => {
    const [first] = world.broken;
    if (first !== undefined) throw new Error(`${first}, after ${after}\n${world.lines.slice(-30).join('\n')}`);
  };
  world.start();
  for (const command of commands) {
    await act(world, command);
    judge(JSON.stringify(command));
  }
  await world.settle();
  judge('all was well again');
  return world;
}
