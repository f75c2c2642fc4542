import { failureOf } from '../../core/failure.js';
import { redact } from '../../core/redact.js';
import { type Finding, type Section, teller } from './finding.js';
import type { World } from './world.js';

/** One thing to look at, which others do not wait for. Throws Failed for what cannot be looked at. */
export interface Check {
  readonly section: Section;
  /** Whom a finding is about that the check itself cannot make. */
  readonly about?: string;
  /** Milliseconds; default 10 s. */
  readonly limitMs?: number;
  look(world: World, stop: AbortSignal): readonly Finding[] | Promise<readonly Finding[]>;
}

/** All at once. What a check cannot do in time, or at all, is a finding as well. */
export async function examine(world: World, checks: readonly Check[]): Promise<readonly Finding[]> {
  return (await Promise.all(checks.map((check) => within(check, world)))).flat();
}

async function within(check: Check, world: World): Promise<readonly Finding[]> {
  const { section, about, limitMs = 10_000 } = check;
  const tell = teller(section);
  const rest = about === undefined ? {} : { about };
  const own = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<readonly Finding[]>((resolve) => {
    timer = setTimeout(() => {
      const mend = { do: 'try again; if it stays so, whatever is asked here hangs' };
      resolve([
        tell.warning('check.slow', `this could not be looked at within ${limitMs / 1000} s`, { ...rest, mend }),
      ]);
      own.abort();
    }, limitMs);
  });
  const look = async () => {
    try {
      return await check.look(world, own.signal);
    } catch (thrown) {
      const failure = failureOf(thrown);
      if (failure === undefined) {
        const said = redact(thrown instanceof Error ? thrown.message : String(thrown));
        const mend = { do: 'report it with the version of credmon; the other findings are good all the same' };
        return [tell.error('check.fault', `a fault of credmon's own: ${said}`, { ...rest, mend })];
      }
      const mend = { do: failure.hint ?? 'mend that, then ask again' };
      return [tell.error(`check.${failure.kind}`, failure.what, { ...rest, mend })];
    }
  };
  try {
    return await Promise.race([look(), late]);
  } finally {
    clearTimeout(timer);
  }
}
