import { exitCode } from '../../core/failure.js';
import type { Ask, LoginState, Place } from '../../core/login.js';
import type { Face } from '../../core/ports.js';
import { plain } from '../../core/text.js';
import type { EpochMs } from '../../core/time.js';

export interface JsonOptions {
  /** Gets one whole line at a time. */
  write(line: string): void;
}

/** One JSON object a line, for programs: names as in RFC 8628 §3.2, times in ISO 8601. It never holds a token. */
export function jsonFace({ write }: JsonOptions): Face {
  let last = '';
  let closed = false;
  return {
    show(state) {
      if (closed) return;
      const line = JSON.stringify(event(state));
      if (line === last) return;
      last = line;
      write(`${line}\n`);
    },
    async again() {
      return false;
    },
    async close() {
      closed = true;
    },
  };
}

function event(state: LoginState): Record<string, unknown> {
  const head = { event: state.at, provider: text(state.ask.provider) };
  switch (state.at) {
    case 'starting':
      return { ...head, ...about(state.ask) };
    case 'code':
      return {
        ...head,
        ...about(state.ask),
        user_code: text(state.code),
        verification_uri: text(state.link),
        verification_uri_complete: text(state.linkComplete),
        expires_at: iso(state.expires),
        trouble: text(state.trouble),
      };
    case 'expired':
      return head;
    case 'storing':
      return { ...head, who: text(state.who), place: place(state.place) };
    case 'waiting':
      return { ...head, who: text(state.who), place: place(state.place), what: text(state.what) };
    case 'done':
      return {
        ...head,
        handle: text(state.ask.handle),
        also: also(state.ask),
        from: text(state.ask.from),
        who: text(state.who),
        place: place(state.place),
        missing_scopes: state.missing.map(text),
        expires_at: iso(state.expires),
        refresh_at: iso(state.refresh),
        keeper: text(state.keeper),
        note: text(state.note),
      };
    case 'kept':
      return { ...head, handle: text(state.ask.handle), place: place(state.place), expires_at: iso(state.expires) };
    case 'failed': {
      const { kind, what, hint, code, wait } = state.failure;
      return {
        ...head,
        kind,
        what: text(what),
        hint: text(hint),
        error: text(code),
        retry_after: wait,
        exit_code: exitCode(state.failure),
      };
    }
  }
}

const about = (ask: Ask) => ({
  issuer: text(ask.issuer),
  handle: text(ask.handle),
  scopes: ask.scopes.map(text),
  audience: text(ask.audience),
  also: also(ask),
});

const also = (ask: Ask) =>
  ask.also?.map(({ handle, audience }) => ({ handle: text(handle), audience: text(audience) }));

const place = (p: Place) => ({
  kind: p.kind,
  by: p.kind === 'condor' ? p.by : undefined,
  path: p.kind === 'file' ? text(p.path) : undefined,
  because: p.kind === 'file' ? text(p.because) : undefined,
});

/** JSON escapes controls by itself; what it is printed with later may not. */
const text = (value: string | undefined): string | undefined => (value === undefined ? undefined : plain(value, 4096));

/** `Date` refuses moments beyond the year 275760; no moment at all is said then. */
function iso(at: EpochMs | undefined): string | undefined {
  if (at === undefined) return undefined;
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}
