import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { FailureKind } from '../../src/core/failure.js';
import { exposition, failureOutcome, Histogram, refreshOutcomes } from '../../src/core/metrics.js';
import { readExposition, sampleOf } from '../helpers/exposition.js';

const gauge = (samples: readonly { value: number; labels?: Record<string, string> }[], help = 'Help.') => ({
  ...{ name: 'credmon_it', type: 'gauge' as const },
  ...{ help, samples },
});

describe('the text format', () => {
  test('is as Prometheus describes it', () => {
    const text = exposition([
      gauge([{ value: 1.5, labels: { a: 'x', b: 'y' } }, { value: 0 }]),
      { name: 'credmon_n_total', type: 'counter', help: 'Counts.', samples: [{ value: 3 }] },
    ]);
    expect(text).toBe(
      [
        '# HELP credmon_it Help.',
        '# TYPE credmon_it gauge',
        'credmon_it{a="x",b="y"} 1.5',
        'credmon_it 0',
        '# HELP credmon_n_total Counts.',
        '# TYPE credmon_n_total counter',
        'credmon_n_total 3',
        '',
      ].join('\n'),
    );
  });

  test('has any text for help and labels, and any number', () => {
    const words = fc.string({ unit: fc.constantFrom('a', '"', '\\', '\n', ',', '}', '{', '=', 'é', 'n', ' ') });
    fc.assert(
      fc.property(words, words, fc.double(), (label, help, value) => {
        const found = readExposition(exposition([gauge([{ value, labels: { label } }], `x${help}`)]));
        expect(found.get('credmon_it')?.help).toBe(`x${help}`);
        expect(sampleOf(found, 'credmon_it', { label })).toBe(Object.is(value, -0) ? 0 : value);
      }),
    );
  });

  test('leaves out what has no samples', () => {
    expect(exposition([gauge([])])).toBe('');
  });
});

describe('a histogram', () => {
  test('counts each value in the buckets that are not below it', () => {
    const bounds = [0.1, 1, 10];
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constantFrom(0, 0.1, 1, 10), fc.double({ min: 0, max: 20, noNaN: true }))),
        (all) => {
          const histogram = new Histogram(bounds);
          for (const value of all) histogram.observe(value);
          const found = readExposition(
            exposition([{ name: 'h', type: 'histogram', help: 'H.', samples: histogram.samples({ p: 'x' }) }]),
          );
          for (const bound of bounds)
            expect(samplesOf(found, String(bound))).toBe(all.filter((value) => value <= bound).length);
          expect(samplesOf(found, '+Inf')).toBe(all.length);
          const sum = found.get('h')?.samples.find(({ name }) => name === 'h_sum')?.value;
          expect(sum).toBeCloseTo(
            all.reduce((total, value) => total + value, 0),
            6,
          );
        },
      ),
    );
  });
  const samplesOf = (found: ReturnType<typeof readExposition>, le: string) =>
    found.get('h')?.samples.find(({ labels }) => labels.le === le && labels.p === 'x')?.value;
});

describe('what came of a refresh', () => {
  test.each<[FailureKind, string | undefined, string]>([
    ['login-needed', 'invalid_grant', 'invalid_grant'],
    ['refused', 'invalid_client', 'invalid_client'],
    ['refused', 'invalid_scope', 'invalid_scope'],
    ['refused', 'http_404', 'refused'],
    ['refused', 'whatever_an_issuer_makes_up', 'refused'],
    ['refused', 'constructor', 'refused'],
    ['transient', 'invalid_grant', 'transient'],
    ['transient', undefined, 'transient'],
    ['login-needed', 'no_origin', 'login_needed'],
    ['denied', 'access_denied', 'other'],
    ['storage', undefined, 'storage'],
  ])('%s with the code %s is %s', (kind, code, outcome) => {
    expect(failureOutcome({ kind, ...(code !== undefined && { code }) })).toBe(outcome);
    expect(refreshOutcomes).toContain(outcome);
  });
});

describe('the parser of these tests', () => {
  test.each([
    ['no end of line', '# HELP a A.\n# TYPE a gauge\na 1'],
    ['no help', '# TYPE a gauge\na 1\n'],
    ['a blank line', '# HELP a A.\n# TYPE a gauge\na 1\n\n'],
    ['a time stamp', '# HELP a A.\n# TYPE a gauge\na 1 1700000000000\n'],
    ['a value of JavaScript', '# HELP a A.\n# TYPE a gauge\na Infinity\n'],
    ['the same series twice', '# HELP a A.\n# TYPE a gauge\na{x="1",y="2"} 1\na{y="2",x="1"} 1\n'],
    ['the same family twice', '# HELP a A.\n# TYPE a gauge\na 1\n# HELP a A.\n# TYPE a gauge\na{x="1"} 1\n'],
    ['another metric', '# HELP a A.\n# TYPE a gauge\nb 1\n'],
    ['an open label', '# HELP a A.\n# TYPE a gauge\na{x="1} 1\n'],
    ['an escape that is none', '# HELP a A.\n# TYPE a gauge\na{x="\\d"} 1\n'],
    ['a comma at the end', '# HELP a A.\n# TYPE a gauge\na{x="1",} 1\n'],
    ['a counter that is not called so', '# HELP a A.\n# TYPE a counter\na 1\n'],
    ['a counter below nothing', '# HELP a_total A.\n# TYPE a_total counter\na_total -1\n'],
    [
      'buckets that shrink',
      '# HELP h H.\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n',
    ],
    ['no last bucket', '# HELP h H.\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_sum 1\nh_count 2\n'],
    ['another count', '# HELP h H.\n# TYPE h histogram\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 2\n'],
  ])('does not pass %s', (_, text) => {
    expect(() => readExposition(text)).toThrow();
  });
});
