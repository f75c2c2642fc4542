import { Failed, type Failure } from '../../core/failure.js';
import type { Health } from '../../core/health.js';
import { stem } from '../../core/names.js';
import type { Wish } from '../../core/several.js';
import { type EpochMs, seconds } from '../../core/time.js';
import { readMine, until } from '../../status/read.js';
import type { LoginContext } from './context.js';

/** How long credmond has to take over a login, and to fetch its first tokens. */
export const patience = seconds(45);

type Context = Pick<LoginContext, 'config' | 'provider' | 'clock' | 'stop'>;

/** What a status file says of them: what is worth knowing when all are there, or a note about those that are not. */
export interface FirstTokens {
  readonly expires?: EpochMs;
  readonly refresh?: EpochMs;
  readonly note?: string;
}

/**
 * Waits until credmond tells of each that it has a token fetched after `begun`, or why there will be none. What may pass is
 * waited out: credmond tries again. Throws Failed, which names those that will have none; times are those of the first.
 */
export async function firstTokens(context: Context, wishes: readonly Wish[], begun: EpochMs): Promise<FirstTokens> {
  const { clock, stop } = context;
  const look = () => wishes.map((wish) => healthOf(context, wish));
  const settled = () => {
    const found = look();
    return found.every((health) => settledSince(health, begun)) ? found : undefined;
  };
  const found = (await until(settled, { clock, limit: patience, stop })) ?? look();
  const lacking = wishes.flatMap((wish, i) => (hasToken(found[i], begun) ? [] : [{ wish, health: found[i] }]));
  const name = ({ handle }: Wish) => stem({ service: context.provider.name, ...(handle !== undefined && { handle }) });
  const several = wishes.length > 1;
  const lost = lacking.flatMap(({ wish, health }) =>
    hasFailed(health, begun) && health?.trouble ? [{ name: name(wish), trouble: health.trouble }] : [],
  );
  if (lost.length > 0) throw new Failed(noTokens(lost, several));
  if (lacking.length === 0) return timesOf(found[0]);
  const why = lacking.flatMap(({ wish, health }) => (health?.trouble ? [`${name(wish)}: ${health.trouble.what}`] : []));
  const names = several ? ` of ${lacking.map(({ wish }) => name(wish)).join(', ')}` : '';
  return {
    ...(hasToken(found[0], begun) && timesOf(found[0])),
    note: `HTCondor has it, but credmond has not told of a first token${names} yet${why.length > 0 ? ` (${why.join('; ')})` : ''}. See: credmon status`,
  };
}

function noTokens(
  lost: readonly { readonly name: string; readonly trouble: NonNullable<Health['trouble']> }[],
  several: boolean,
): Failure {
  const [{ trouble }] = lost as [(typeof lost)[0]];
  const what = several
    ? `stored, but there is no token for ${lost.map((one) => `${one.name}: ${one.trouble.what}`).join('; nor for ')}`
    : `stored, but the first token could not be fetched: ${trouble.what}`;
  return { ...trouble, what };
}

export function healthOf(
  { config, provider }: Pick<Context, 'config' | 'provider'>,
  { handle }: Wish,
): Health | undefined {
  return healthsOf({ config, provider }).find((health) => health.handle === handle);
}

/** Of one's own credentials of this provider. */
export function healthsOf({ config, provider }: Pick<Context, 'config' | 'provider'>): readonly Health[] {
  return (mine(config.statusDir)?.credentials ?? []).filter(({ service }) => service === provider.name);
}

export const mine = (dir: string) => readMine(dir, process.getuid?.() ?? -1);

export function timesOf(health: Health | undefined): Pick<FirstTokens, 'expires' | 'refresh'> {
  return {
    ...(health?.life && { expires: health.life.expires }),
    ...(health?.due !== undefined && { refresh: health.due }),
  };
}

const settledSince = (health: Health | undefined, begun: EpochMs): boolean =>
  hasToken(health, begun) || hasFailed(health, begun);

const hasToken = (health: Health | undefined, begun: EpochMs): boolean =>
  health?.state === 'fresh' && health.life !== undefined && health.life.issued >= begun;

const hasFailed = (health: Health | undefined, begun: EpochMs): boolean =>
  health?.trouble !== undefined && health.trouble.kind !== 'transient' && health.since >= begun;
