import { describe, expect, test } from 'vitest';
import { filled, plotsOf } from './docs.js';
import type { Kept, Row } from './outcome.js';
import { svgOf } from './plot.js';
import { tableOf } from './sheets.js';

const run = (credentials: number, more: Row = {}): Row => ({
  credentials,
  users: credentials,
  firstMs: 900,
  readyMs: 1500,
  idleCpu: 0.004,
  perSecond: 140,
  overMean: 1.2,
  inFlight: 8,
  loadCpu: 0.1,
  delayP50: 0.1,
  delayP99: 4,
  delayMax: 9,
  rssMb: 120,
  peakMb: 140,
  descriptors: 27,
  refused: 0,
  ...more,
});

const kept = (...rows: Row[]): Kept => ({
  machine: { cpu: 'a CPU', cores: 2, kernel: '6.1', fileSystem: 'ext4' },
  versions: { node: 'v20.0.0', credmon: '1.0.0' },
  date: '2026-11-23T12:00:00.000Z',
  rows,
  requests: rows.map(() => [140, 150, 130]),
  latency: 50,
  life: 1200,
  idleFor: 125,
  loadFor: 60,
});

describe('docs/benchmarks.md', () => {
  const page =
    '# Title\n\n<!-- steady -->\nold\n\nlines\n<!-- /steady -->\n\n<!-- startup -->\nkept\n<!-- /startup -->\nend\n';

  test('has what was measured between the marks, and nothing else is touched', () => {
    const files: Record<string, string> = { 'steady.json': JSON.stringify(kept(run(1000))) };
    const { text, taken } = filled(page, (name) => files[name]);
    expect(taken).toEqual(['steady']);
    expect(text).toContain('| idle: CPU, % of a core | 1 | 0.40 | yes |');
    expect(text).not.toContain('old');
    expect(text).toContain('<!-- startup -->\nkept\n<!-- /startup -->\nend\n');
    expect(filled(text, (name) => files[name]).text).toBe(text);
  });

  test('has a table as it is, and what is only printed as it was printed', () => {
    const files: Record<string, string> = { 'steady.md': '| a |\n', 'startup.txt': '> npm words\n  node 40 ms\n' };
    const { text } = filled(page, (name) => files[name]);
    expect(text).toContain('<!-- steady -->\n| a |\n<!-- /steady -->');
    expect(text).toContain('```text\nnode 40 ms\n```');
  });

  test('shows the plots that there are, of those with a user a credential', () => {
    const plots = plotsOf((name) =>
      name === 'steady' ? kept(run(1000), run(100_000), run(100_000, { users: 20_000, rssMb: 999 })) : null,
    );
    const svg = svgOf(plots['growth-memory'] as NonNullable<(typeof plots)[string]>);
    expect(svg).toContain('100,000');
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    expect(plots['growth-memory']?.lines[0]?.points).toEqual([
      [1000, 120],
      [100_000, 120],
    ]);
    const { text } = filled('<!-- growth -->\n<!-- /growth -->\n', () => undefined, plots);
    expect(text).toContain('![Memory, with tokens of 20 minutes](plots/growth-memory.svg)');
  });
});

describe('the table of a bench', () => {
  test('says of each target whether all runs keep to it', () => {
    const table = tableOf('steady', kept(run(1000), run(100_000, { rssMb: 151, firstMs: 3001 })));
    expect(table).toMatch(/^\| memory \(RSS\), MB \| 150 \| 120 \| 151 \| no \|$/m);
    expect(table).toMatch(/^\| start to the first refresh, s \| 3 \| 0\.90 \| 3\.00 \| no \|$/m);
    expect(table).toMatch(/^\| event loop late, ms: median \| {2}\| 0\.1 \| 0\.1 \| {2}\|$/m);
  });

  test('a target that only holds for many is none of the few', () => {
    const few = run(1000, { perSecond: 1.4, overMean: 3 });
    expect(tableOf('steady', kept(few))).toMatch(/^\| most in any second.*\| 3\.00 \| {2}\|$/m);
    expect(tableOf('steady', kept(few, run(100_000)))).toMatch(/^\| most in any second.*\| 3\.00 \| 1\.20 \| yes \|$/m);
  });
});
