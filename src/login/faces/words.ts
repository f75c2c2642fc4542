import type { Failure } from '../../core/failure.js';
import { type Ask, type Companion, type Ended, hasEnded, type LoginState, placeInWords } from '../../core/login.js';
import { inWords } from '../../core/scopes.js';
import { plain } from '../../core/text.js';
import { type EpochMs, spell } from '../../core/time.js';
import { shownLink } from './links.js';

/** Whom a login is for, and how many there will be: what a face knows beside the state. */
export interface Setting {
  readonly account?: string;
  readonly host?: string;
  /** Logins in this run; from two on they are numbered. */
  readonly total?: number;
}

type At<K extends LoginState['at']> = Extract<LoginState, { at: K }>;

const provider = (ask: Ask): string => plain(ask.provider, 60);

export const title = (ask: Ask): string => `Log in to ${provider(ask)}`;

export const issuer = (ask: Ask): string => shownLink(ask.issuer).replace(/\/$/, '');

/** "alice@ap2001.chtc.wisc.edu", as far as it is known. */
export function whom({ account, host }: Setting): string | undefined {
  const parts = [account, host].flatMap((part) => plain(part, 100) || []);
  return parts.length === 0 ? undefined : parts.join('@');
}

/** What sets this grant apart from others of the same provider. */
export function particulars(ask: Ask): readonly string[] {
  return [
    ...(ask.handle === undefined ? [] : [`handle ${plain(ask.handle, 60)}`]),
    ...(ask.audience === undefined ? [] : [`for use at ${plain(ask.audience)}`]),
    ...(ask.also === undefined || ask.also.length === 0 ? [] : [`and for ${companions(ask.also)}`]),
  ];
}

/** "handles read, write (for use at https://x) and 3 more". */
function companions(also: readonly Companion[]): string {
  const name = ({ handle: named, audience }: Companion): string =>
    `${plain(named, 60) || 'no handle'}${audience === undefined ? '' : ` (for use at ${plain(audience)})`}`;
  const shown = also.length > 6 ? also.slice(0, 5) : also;
  const more = also.length === shown.length ? '' : ` and ${also.length - shown.length} more`;
  return `${also.length === 1 ? 'handle' : 'handles'} ${shown.map(name).join(', ')}${more}`;
}

/** Scopes that tell who somebody is, and permit nothing. */
const identity = /^(?:openid|profile|email|offline_access|org\.cilogon\.userinfo)$/;

/** What is granted, in words, each once; what permits something comes first, for the end of a long list may be cut. */
export function grants({ scopes }: Ask): readonly string[] {
  const weighty = scopes.filter((scope) => !identity.test(scope));
  const ordered = [...weighty, ...scopes.filter((scope) => identity.test(scope))];
  return [...new Set(ordered.flatMap((scope) => plain(inWords(scope), 120) || []))];
}

/** "4 min 12 s": to the second, since somebody is watching it. */
export function countdown(seconds: number): string {
  const s = Math.max(0, Math.ceil(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

export const validity = (expires: EpochMs, now: EpochMs): string =>
  expires > now ? `code valid for ${countdown((expires - now) / 1000)}` : 'the code has run out';

/** What is being waited for, without a capital or a full stop. */
export function expectation(state: At<'starting' | 'code' | 'storing' | 'waiting'>): string {
  switch (state.at) {
    case 'starting':
      return `asking ${issuer(state.ask)} for a code`;
    case 'code':
      return 'waiting for your approval';
    case 'storing':
      return 'storing the grant';
    case 'waiting':
      return `waiting for ${plain(state.what)}`;
  }
}

export function approved({ ask, who }: At<'storing' | 'waiting'>): string {
  if (ask.from !== undefined) return fromLogin(ask);
  const name = plain(who, 100);
  return name === '' ? 'Approved' : `Approved by ${name}`;
}

const fromLogin = ({ from, provider: name }: Ask): string =>
  `Made from your login to ${plain(name, 60)}${from ? `, handle ${plain(from, 60)}` : ''}`;

export const trouble = (state: At<'code'>): string | undefined => plain(state.trouble) || undefined;

export const ranOut = 'The code ran out before it was approved.';
export const moreTime = 'Get a new code?';

interface Fact {
  readonly label: string;
  readonly text: string;
}

/** How a login ended: a sentence, and what is worth knowing beside it. */
export interface Outcome {
  readonly good: boolean;
  readonly headline: string;
  readonly facts: readonly Fact[];
}

export function outcome(state: Ended, now: EpochMs): Outcome {
  switch (state.at) {
    case 'done':
      return {
        good: true,
        headline: loggedIn(state),
        facts: [...handle(state.ask), ...others(state.ask), ...doneFacts(state, now)],
      };
    case 'kept':
      return {
        good: true,
        headline: `Already logged in to ${provider(state.ask)}: the grant that is there stays`,
        facts: [...handle(state.ask), rests(state), ...tokenGood(state.expires, now)],
      };
    case 'failed':
      return { good: false, headline: failed(state.ask, state.failure), facts: hint(state.failure) };
  }
}

function loggedIn({ ask, who }: At<'done'>): string {
  if (ask.from !== undefined) return fromLogin(ask);
  const name = plain(who, 100);
  return `Logged in to ${provider(ask)}${name === '' ? '' : ` as ${name}`}`;
}

function doneFacts(state: At<'done'>, now: EpochMs): readonly Fact[] {
  const lacking = state.missing.map((scope) => plain(scope, 120));
  return [
    rests(state),
    ...tokenGood(state.expires, now),
    ...(state.refresh === undefined ? [] : [{ label: 'First refresh', text: moment(state.refresh, now) }]),
    ...(state.keeper === undefined ? [] : [{ label: 'Kept fresh by', text: plain(state.keeper) }]),
    ...(lacking.length === 0 ? [] : [{ label: 'Not granted', text: lacking.join(' ') }]),
    ...(state.note === undefined ? [] : [{ label: 'Note', text: plain(state.note, 400) }]),
  ];
}

const handle = (ask: Ask): readonly Fact[] =>
  ask.handle === undefined ? [] : [{ label: 'Handle', text: plain(ask.handle, 60) }];

const others = ({ also }: Ask): readonly Fact[] =>
  also === undefined || also.length === 0 ? [] : [{ label: 'And for', text: plain(companions(also), 400) }];

const rests = ({ place }: At<'done' | 'kept'>): Fact => ({
  label: 'Stored',
  text: plain(placeInWords(place), 400),
});

const tokenGood = (expires: EpochMs | undefined, now: EpochMs): readonly Fact[] =>
  expires === undefined || expires <= now ? [] : [{ label: 'Token good', text: `for ${span(expires, now)}` }];

/** The record outlives the moment, so it has the time of day too. */
function moment(at: EpochMs, now: EpochMs): string {
  if (at <= now) return 'due now';
  const date = new Date(at);
  const two = (n: number) => String(n).padStart(2, '0');
  const day = at - now < 86_400_000 ? '' : `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} `;
  return `in ${span(at, now)}, at ${day}${two(date.getHours())}:${two(date.getMinutes())}`;
}

const span = (until: EpochMs, now: EpochMs): string => spell((until - now) / 1000);

const failed = (ask: Ask, failure: Failure): string =>
  failure.kind === 'cancelled'
    ? `Login to ${provider(ask)} cancelled`
    : `Login to ${provider(ask)} failed: ${plain(failure.what, 600)}`;

const hint = ({ hint: text }: Failure): readonly Fact[] =>
  text === undefined ? [] : [{ label: 'Hint', text: plain(text, 400) }];

/** For a face that is closed in the middle. */
export const unfinished = (ask: Ask): string => `Login to ${provider(ask)}: not finished`;

/**
 * The story line by line, for faces that only ever add lines (plain, screen readers): what `state` says that `before`
 * did not. The link stands alone on its line, so that it can be copied.
 */
export function tell(
  before: LoginState | undefined,
  state: LoginState,
  now: EpochMs,
  setting: Setting & { readonly number?: number },
): readonly string[] {
  const opening = opensLogin(before, state) && !hasEnded(state) ? opener(state, setting) : [];
  return [...opening, ...news(before, state, now)];
}

/** Whether `next` belongs to another login than `before`, in a run of several. */
export const opensLogin = (before: LoginState | undefined, next: LoginState): boolean =>
  before === undefined || (hasEnded(before) && (!hasEnded(next) || next.ask !== before.ask));

function opener({ ask }: LoginState, setting: Setting & { readonly number?: number }): readonly string[] {
  const { number = 1, total = 1 } = setting;
  const person = whom(setting);
  const words = grants(ask);
  return [
    `${title(ask)} (${issuer(ask)})${person === undefined ? '' : ` for ${person}`}${total > 1 ? `, ${number} of ${total}` : ''}`,
    ...particulars(ask).map((line) => `  ${line}`),
    ...(words.length === 0 ? [] : [`  Your jobs can then ${words.join('; ')}.`]),
  ];
}

function news(before: LoginState | undefined, state: LoginState, now: EpochMs): readonly string[] {
  switch (state.at) {
    case 'starting':
      return [];
    case 'code':
      return before?.at === 'code' && before.code === state.code ? troubleNews(before, state) : codeLines(state, now);
    case 'expired':
      return before?.at === 'expired' ? [] : [ranOut];
    case 'storing':
      return before?.at === 'storing' ? [] : [`${approved(state)}; ${expectation(state)}.`];
    case 'waiting':
      return before?.at === 'waiting' && before.what === state.what ? [] : [`${capital(expectation(state))}.`];
    case 'done':
    case 'kept':
    case 'failed': {
      if (before && hasEnded(before) && before.at === state.at && before.ask === state.ask) return [];
      const { headline, facts } = outcome(state, now);
      return [headline, ...facts.map(({ label, text }) => `  ${label}: ${text}`)];
    }
  }
}

function codeLines(state: At<'code'>, now: EpochMs): readonly string[] {
  const code = plain(state.code, 64);
  return [
    '',
    'Open this link in a browser on any device:',
    shownLink(state.linkComplete ?? state.link),
    state.linkComplete === undefined ? `and enter the code  ${code}` : `and check that it shows the code  ${code}`,
    '',
    `${capital(expectation(state))}; the code is valid for ${span(state.expires, now)}.`,
    ...troubleNews(undefined, state),
  ];
}

function troubleNews(before: At<'code'> | undefined, state: At<'code'>): readonly string[] {
  if (before?.trouble === state.trouble) return [];
  const what = trouble(state);
  return [what === undefined ? 'The issuer answers again.' : `Still trying: ${what}`];
}

/** With a capital; the full stop is the caller's. */
export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
