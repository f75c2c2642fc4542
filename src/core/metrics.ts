import type { Failure, FailureKind } from './failure.js';

/**
 * Prometheus' text format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats). Names keep to what OpenMetrics
 * asks for as well: a unit at the end, `_total` for what is counted, `_info` for what only has labels.
 */
export const metricsType = 'text/plain; version=0.0.4; charset=utf-8';

type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly value: number;
  readonly labels?: Labels;
  /** Of a histogram: `_bucket`, `_sum` or `_count`. */
  readonly suffix?: string;
}

export interface Family {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly samples: Iterable<Sample>;
}

/** One of which nothing can be told now is left out. */
export function exposition(families: Iterable<Family>): string {
  let text = '';
  for (const { name, type, help, samples } of families) {
    let lines = '';
    for (const { value, labels = {}, suffix = '' } of samples)
      lines += `${name}${suffix}${labelled(labels)} ${number(value)}\n`;
    if (lines !== '') text += `# HELP ${name} ${escaped(help)}\n# TYPE ${name} ${type}\n${lines}`;
  }
  return text;
}

function labelled(labels: Labels): string {
  const all = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value).replaceAll('"', '\\"')}"`);
  return all.length === 0 ? '' : `{${all.join(',')}}`;
}

const escaped = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');

/** As Go's ParseFloat reads it. */
const number = (value: number): string =>
  Number.isFinite(value) ? String(value) : Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf';

/** How long refreshes take: seconds. An issuer at 50 ms, one that is far away, and one that hangs until it is given up. */
export const durations: readonly number[] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** Counts observations by the least of `bounds` that is not below them. */
export class Histogram {
  readonly #counts: number[];
  #sum = 0;

  constructor(private readonly bounds: readonly number[]) {
    this.#counts = new Array(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    const at = this.bounds.findIndex((bound) => value <= bound);
    const bucket = at < 0 ? this.bounds.length : at;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sum += value;
  }

  *samples(labels: Labels): Iterable<Sample> {
    let count = 0;
    for (const [n, here] of this.#counts.entries()) {
      count += here;
      yield { suffix: '_bucket', labels: { ...labels, le: number(this.bounds[n] ?? Infinity) }, value: count };
    }
    yield { suffix: '_sum', labels, value: this.#sum };
    yield { suffix: '_count', labels, value: count };
  }
}

/** The error codes of RFC 6749 §5.2. */
const codes = [
  'invalid_request',
  'invalid_client',
  'invalid_grant',
  'unauthorized_client',
  'unsupported_grant_type',
  'invalid_scope',
] as const;

/**
 * What may come of one refresh: a closed list, since each is a time series.
 *   ok            jobs have a new token
 *   invalid_…     the issuer refused with this code of RFC 6749 §5.2
 *   transient … config
 *                 it failed for another reason, by its kind (failure.ts)
 *   superseded    a login or a deletion came in between
 *   damaged       what is stored is no grant
 *   other         it failed, and is none of these
 */
export const refreshOutcomes = [
  'ok',
  ...codes,
  'transient',
  'protocol',
  'refused',
  'login_needed',
  'storage',
  'config',
  'superseded',
  'damaged',
  'other',
] as const;

export type RefreshOutcome = (typeof refreshOutcomes)[number];

const kinds: Readonly<Record<FailureKind, RefreshOutcome>> = {
  transient: 'transient',
  protocol: 'protocol',
  refused: 'refused',
  'login-needed': 'login_needed',
  storage: 'storage',
  config: 'config',
  usage: 'other',
  denied: 'other',
  expired: 'other',
  unsupported: 'other',
  cancelled: 'other',
};

/** An issuer in trouble may send any code with its 5xx: that is the issuer's trouble, and not this grant's. */
export const failureOutcome = ({ kind, code }: Pick<Failure, 'kind' | 'code'>): RefreshOutcome =>
  (kind === 'transient' ? undefined : codes.find((one) => one === code)) ?? kinds[kind];
