/** A sample as it was written. */
interface Read {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface ReadFamily {
  readonly type: string;
  readonly help: string;
  readonly samples: readonly Read[];
}

export type Exposition = ReadonlyMap<string, ReadFamily>;

/**
 * Reads Prometheus' text format 0.0.4, and throws for whatever node_exporter or Prometheus would refuse, or lint: stricter than
 * the format, which admits comments, blank lines, time stamps and samples without HELP and TYPE.
 */
export function readExposition(text: string): Exposition {
  if (text !== '' && !text.endsWith('\n')) throw new Error('the last line has no end');
  const families = new Map<string, { type: string; help: string; samples: Read[] }>();
  const seen = new Set<string>();
  const lines = text.split('\n').slice(0, -1);
  let at = '';
  for (let n = 0; n < lines.length; ) {
    const [, name = '', help = ''] = /^# HELP ([a-z][a-z0-9_]*) (.+)$/.exec(lines[n] ?? '') ?? [];
    const [, typed, type = ''] = /^# TYPE ([a-z][a-z0-9_]*) (counter|gauge|histogram)$/.exec(lines[n + 1] ?? '') ?? [];
    at = `line ${n + 1}: ${lines[n]}`;
    if (name === '' || typed !== name) throw new Error(`HELP and TYPE are wanted, ${at}`);
    if (families.has(name)) throw new Error(`${name} is there twice, ${at}`);
    if ((type === 'counter') !== name.endsWith('_total')) throw new Error(`a counter ends with _total, ${at}`);
    const samples: Read[] = [];
    families.set(name, { type, help: unescaped(help, at), samples });
    for (n += 2; n < lines.length && !lines[n]?.startsWith('#'); n++) {
      at = `line ${n + 1}: ${lines[n]}`;
      const sample = readSample(lines[n] ?? '', at);
      const suffix = sample.name.slice(name.length);
      const fits = type === 'histogram' ? ['_bucket', '_sum', '_count'].includes(suffix) : suffix === '';
      if (!sample.name.startsWith(name) || !fits) throw new Error(`not of ${name}, ${at}`);
      const series = `${sample.name}${JSON.stringify(Object.entries(sample.labels).sort())}`;
      if (seen.has(series)) throw new Error(`the same series twice, ${at}`);
      seen.add(series);
      if (type !== 'gauge' && !(sample.value >= 0)) throw new Error(`counts nothing, ${at}`);
      samples.push(sample);
    }
    if (samples.length === 0) throw new Error(`${name} has no samples, ${at}`);
    if (type === 'histogram') checkHistogram(name, samples);
  }
  return families;
}

function readSample(line: string, at: string): Read {
  const [, name = '', inner, value = ''] =
    /^([a-z][a-z0-9_]*)(?:\{(.+)\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|[+-]Inf|NaN)$/.exec(line) ?? [];
  if (name === '') throw new Error(`no sample, ${at}`);
  const labels: Record<string, string> = {};
  let rest = inner ?? '';
  while (rest !== '') {
    const [whole, label = '', text = '', comma = ''] = /^([a-z][a-z0-9_]*)="((?:[^"\\]|\\.)*)"(,|$)/.exec(rest) ?? [];
    if (whole === undefined || label in labels || (comma === ',' && whole.length === rest.length))
      throw new Error(`labels, ${at}`);
    labels[label] = unescaped(text, at, '"');
    rest = rest.slice(whole.length);
  }
  return { name, labels, value: Number(value.replace('Inf', 'Infinity')) };
}

function unescaped(text: string, at: string, more = ''): string {
  return text.replace(/\\(.?)/g, (_, sign: string) => {
    if (sign === 'n') return '\n';
    if (sign !== '\\' && (sign === '' || sign !== more)) throw new Error(`an escape that is none, ${at}`);
    return sign;
  });
}

function checkHistogram(name: string, samples: readonly Read[]): void {
  const rest = ({ labels: { le: _, ...others } }: Read) => JSON.stringify(others);
  for (const group of new Set(samples.map(rest))) {
    const mine = samples.filter((sample) => rest(sample) === group);
    const buckets = mine.filter((sample) => sample.name === `${name}_bucket`);
    const bounds = buckets.map(({ labels: { le = '' } }) => Number(le.replace('Inf', 'Infinity')));
    const ascending = (values: readonly number[], strict: boolean) =>
      values.every((value, n) => n === 0 || value > (values[n - 1] ?? 0) || (!strict && value === values[n - 1]));
    if (!ascending(bounds, true) || bounds.at(-1) !== Number.POSITIVE_INFINITY)
      throw new Error(`the bounds of ${name}${group}`);
    const counts = buckets.map(({ value }) => value);
    if (!ascending(counts, false)) throw new Error(`the buckets of ${name}${group} do not add up`);
    const one = (suffix: string) => mine.filter((sample) => sample.name === name + suffix);
    if (one('_count').length !== 1 || one('_count')[0]?.value !== counts.at(-1) || one('_sum').length !== 1)
      throw new Error(`sum and count of ${name}${group}`);
  }
}

/** The one sample with exactly these labels; undefined: there is none. */
export const sampleOf = (
  all: Exposition,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined => {
  const wanted = JSON.stringify(Object.entries(labels).sort());
  return all.get(name)?.samples.find((one) => JSON.stringify(Object.entries(one.labels).sort()) === wanted)?.value;
};
