import { advisedCommand, againFor } from './again.js';
import type { Config } from './config.js';
import { byTrouble, type Health, stateWords } from './health.js';
import { endsSoon, warningWindow } from './match.js';
import { nameTrouble, stem } from './names.js';
import { type Flow, findProvider } from './provider.js';
import { originOf, requestFor } from './renewal.js';
import { plain, typewritten } from './text.js';
import { type EpochMs, epochMs, later, seconds, utc } from './time.js';

/**
 * How a person's credentials stand altogether, for those who greet them at a login.
 *   ok     there is nothing to say
 *   warn   there is, but a login is not what is wanted, or not yet
 *   login  jobs have no good token, or soon will not, until the person logs in
 */
export interface Standing {
  readonly state: 'ok' | 'warn' | 'login';
  /** When time alone makes it another one; undefined: never. */
  readonly until?: EpochMs;
  /** One sentence without its full stop, of {@link harmless} characters; '' when there is nothing to say. */
  readonly what: string;
  /** The command that mends it, as `credmon status` names it, of {@link harmless} characters; '' where no command does. */
  readonly command: string;
  /** The providers whose plain login (the one without a handle) is good, and not to be renewed yet. */
  readonly good: readonly string[];
}

/** Printable ASCII without the backslash: no terminal acts on it, and every shell's `echo` leaves it as it is. */
const harmless = /^[ -[\]-~]*$/;

/** The name of the file for those who have none of their own. */
export const nobodys = '.default';

/** The name of a person's file; undefined for names that no account should have. */
export const loginFileOf = (user: string): string | undefined => (nameTrouble(user) === undefined ? user : undefined);

/** What the file says: see daemon/login-files.ts. `pid`: of the credmond that keeps it true; 0: none does. */
export const standingText = ({ state, until, what, command, good }: Standing, pid: number): string =>
  `1 ${state} ${until === undefined ? 0 : Math.ceil(until / 1000)} ${pid}\n${what}\n${command}\n${good.join(' ')}\n`;

/** The same, whoever wrote it. */
export const withoutPid = (text: string): string => text.replace(/^(1 \w+ \d+) \d+$/m, '$1');

export type StandingSettings = Pick<Config, 'providers' | 'preferred' | 'warning' | 'pam'>;

/** Refreshes that fail are not told of at once: issuers have bad hours. */
const patience = seconds(3600);

/** Longer commands, and those with other characters, are named by the one that shows them. */
const longestCommand = 2000;

const status = 'credmon status';

const well: Standing = { state: 'ok', what: '', command: '', good: [] };

interface Finding {
  readonly state: 'warn' | 'login';
  readonly what: string;
  readonly command: string;
}

interface Judged {
  readonly finding?: Finding;
  /** When time alone changes it. */
  readonly until?: EpochMs;
}

/** `healths`: all credentials of one person. */
export function standingOf(healths: readonly Health[], settings: StandingSettings, now: EpochMs): Standing {
  const findings: Finding[] = [];
  const good: string[] = [];
  let until = Number.POSITIVE_INFINITY;
  const none = ofNobody(settings);
  if (none.state !== 'ok' && lacks(healths, settings)) findings.push({ ...none, state: none.state });
  for (const health of [...healths].sort(byTrouble)) {
    const judged = judge(health, healths, settings, now);
    if (judged.finding) findings.push(judged.finding);
    until = Math.min(until, judged.until ?? until);
    if (isLogin(health, settings) && health.handle === undefined && isGood(health, judged))
      good.push(nameOf(health, settings));
  }
  const worst = findings.find(({ state }) => state === 'login') ?? findings[0];
  const rest = { good, ...(Number.isFinite(until) && { until: epochMs(until) }) };
  if (worst === undefined) return { ...well, ...rest };
  const more = findings.length > 1 ? ` (${findings.length - 1} more: see ${status})` : '';
  return { ...worst, ...rest, what: worst.what + more };
}

/** Of whoever has no credential that people log in for. */
export function ofNobody({ providers, preferred, pam }: StandingSettings): Standing {
  const people = [...providers.values()].filter(({ flow }) => flow === 'device').map(({ name }) => name);
  const [first] = people;
  const meant = pam?.provider ?? preferred ?? (people.length === 1 ? first : undefined);
  // Where the provider that is meant comes without a click, nobody need log in.
  if (first === undefined || (meant !== undefined && !people.includes(meant))) return well;
  const what = `you are not logged in to ${ascii(meant ?? people.join(' or '), 100)}`;
  return { ...finding('login', what, againFor('device', { service: meant ?? first })), good: [] };
}

/** Where ssh logins bring the login of one provider along, that is the one to have; else any that a person has will do. */
const lacks = (healths: readonly Health[], settings: StandingSettings): boolean =>
  !healths.some(
    (health) =>
      isLogin(health, settings) &&
      (settings.pam === undefined ||
        (health.handle === undefined && nameOf(health, settings) === settings.pam.provider)),
  );

const isGood = ({ state }: Health, { finding }: Judged): boolean =>
  finding?.state !== 'login' && (state === 'fresh' || state === 'new' || state === 'retrying');

function judge(health: Health, healths: readonly Health[], settings: StandingSettings, now: EpochMs): Judged {
  const { state, trouble, since, life } = health;
  const name = ascii(stem(health), 100);
  switch (state) {
    case 'login-needed':
    case 'damaged': {
      // The login that it is made from is told of by itself, and brings it back.
      const origin = originOf(health, healths);
      if (origin !== health && (origin.state === 'login-needed' || origin.state === 'damaged')) return {};
      const kind = flowOf(health, settings) === 'device' ? 'login' : 'warn';
      const advice = trouble?.hint ?? againFor(flowOf(health, settings), requestFor(health));
      return { finding: finding(kind, `${name}: ${stateWords[state]}${because(health)}`, advice) };
    }
    case 'refused':
      return { finding: finding('warn', `${name}: ${stateWords[state]}${because(health)}`, trouble?.hint) };
    case 'retrying': {
      const end = ending(health, settings, now);
      const told = Math.min(later(since, patience), life?.expires ?? Number.POSITIVE_INFINITY);
      if (told > now) return { ...end, until: epochMs(Math.min(told, end.until ?? told)) };
      const what = `${name}: ${stateWords[state]} since ${utc(since)}${because(health)}`;
      return end.finding?.state === 'login' ? end : { ...end, finding: finding('warn', what, `run: ${status}`) };
    }
    default:
      return ending(health, settings, now);
  }
}

/** Of one whose login may be about to end. What is made from a login ends with it, and is not told of apart. */
function ending(health: Health, settings: StandingSettings, now: EpochMs): Judged {
  const { ends } = health;
  if (ends === undefined) return {};
  const soon = endsSoon(health, now, settings.warning);
  const window = warningWindow(health, settings.warning);
  if (soon === undefined) return { until: epochMs(ends - window + 1) };
  const what = `your login to ${ascii(stem(health), 100)} ${ends > now ? 'ends' : 'ended'} on ${utc(ends)}`;
  const advice = againFor(flowOf(health, settings), requestFor(health), { force: true });
  const next = [ends - window / 3 + 1, ends].find((at) => at > now);
  return {
    finding: finding(soon.urgent ? 'login' : 'warn', what, advice),
    ...(next !== undefined && { until: epochMs(next) }),
  };
}

/** `advice`: as `credmon status` gives it. What is no command goes into the sentence. */
function finding(state: Finding['state'], what: string, advice: string | undefined): Finding {
  if (advice === undefined) return { state, what, command: '' };
  const command = advisedCommand(advice);
  if (command === undefined) return { state, what: `${what}; ${ascii(advice, 200)}`, command: '' };
  return { state, what, command: command.length <= longestCommand && harmless.test(command) ? command : status };
}

const because = ({ trouble }: Health): string => (trouble ? ` (${ascii(trouble.what, 200)})` : '');

const flowOf = ({ provider }: Health, { providers }: StandingSettings): Flow =>
  findProvider(providers, provider)?.flow ?? 'device';

/** One that a person has logged in for. What is made from it is none by itself. */
const isLogin = (health: Health, settings: StandingSettings): boolean =>
  flowOf(health, settings) === 'device' && health.origin === undefined;

const nameOf = ({ provider }: Health, { providers }: StandingSettings): string =>
  findProvider(providers, provider)?.name ?? provider;

/** {@link harmless} characters only: what has no likeness among them is a question mark. */
const ascii = (text: string, longest: number): string =>
  typewritten(plain(text.normalize('NFKD').replace(/\p{M}/gu, ''), longest)).replace(/[^ -[\]-~]/gu, '?');
