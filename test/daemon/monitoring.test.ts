import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { refreshOutcomes } from '../../src/core/metrics.js';
import { ended } from '../../src/core/ssh-logins.js';
import { epochMs, seconds } from '../../src/core/time.js';
import { Metrics } from '../../src/daemon/metrics.js';
import { handClock } from '../helpers/clock.js';
import { readExposition } from '../helpers/exposition.js';
import { provider } from './kit.js';

const docs = fileURLToPath(new URL('../../docs/', import.meta.url));
const read = (name: string) => readFileSync(join(docs, name), 'utf8');

/** Everything that credmond can tell. */
async function everything() {
  const metrics = new Metrics({
    keeper: {
      all: () => [{ provider: 'p', state: 'fresh', due: undefined, expires: epochMs(1), facts: {} }],
      suspected: () => [],
      backlog: () => ({ waiting: 0, lateMs: 0, inFlight: 0 }),
    },
    clock: handClock(),
    log: { error: () => {}, info: () => {} },
    config: () => ({
      providers: new Map([['p', provider('p')]]),
      minimum: seconds(360),
      metrics: { file: '/nowhere/x.prom' },
    }),
    build: { version: '1', node: '20' },
    began: epochMs(0),
    usage: () => ({ cpuSeconds: 1, residentBytes: 1, descriptors: 1, mostDescriptors: 1 }),
    lines: { error: 0, warning: 0, info: 0 },
    ssh: () => ({
      ...{ asked: 0, approved: 0, denied: 0, expired: 0, gone: 0, decoys: 0, unavailable: 0, committed: 0 },
      since: epochMs(0),
    }),
    file: { write: async () => {}, remove: async () => {} },
    listener: { listen: async () => {}, close: async () => {} },
  });
  metrics.passed(1);
  await metrics.once();
  return readExposition(metrics.text());
}
const all = await everything();
const samples = [...all.values()].flatMap((family) => family.samples);
const written = new Set([...all.keys(), ...samples.map(({ name }) => name)]);
/** Prometheus adds these of its own. */
const added = ['instance', 'job'];

const labelsOf = (name: string): Set<string> =>
  new Set(samples.filter((one) => one.name === name).flatMap(({ labels }) => Object.keys(labels)));
const valuesOf = (name: string, label: string): Set<string | undefined> =>
  new Set(samples.filter((one) => one.name === name).map(({ labels }) => labels[label]));
/** Of these every value is known. */
const closed = ['state', 'outcome', 'level'];

/** What is wrong with the metrics and labels of an expression. */
function wrongIn(expr: string): string[] {
  const wrong: string[] = [];
  const used: string[] = [];
  for (const [, name = '', , matchers = ''] of expr.matchAll(/\b(credmon_\w+)(\{([^}]*)\})?/g)) {
    used.push(name);
    if (!written.has(name)) wrong.push(`there is no ${name}`);
    for (const matcher of matchers.split(/,\s*/).filter((one) => one !== '')) {
      const [, label = '', value = ''] = /^(\w+)(?:=|!=|=~|!~)"(.*)"$/.exec(matcher) ?? [];
      if (!labelsOf(name).has(label) && !added.includes(label)) wrong.push(`${name} has no label in ${matcher}`);
      if (!closed.includes(label)) continue;
      for (const one of value.split('|')) if (!valuesOf(name, label).has(one)) wrong.push(`${name} has no ${matcher}`);
    }
  }
  if (used.length === 0) wrong.push(`nothing of credmon's in ${expr}`);
  for (const [, list = ''] of expr.matchAll(/\b(?:by|without|on|ignoring|group_left) \(([^)]*)\)/g))
    for (const label of list.split(/,\s*/).filter((one) => one !== ''))
      if (!added.includes(label) && !used.some((name) => labelsOf(name).has(label)))
        wrong.push(`no label ${label} in ${expr}`);
  return wrong;
}

/** The labels that are left after an expression is reckoned, as far as its words and legends go by them. */
function wrongWords(expr: string, labels: Iterable<string>): string[] {
  const names = [...expr.matchAll(/\bcredmon_\w+/g)].map(([name]) => name);
  const grouped = /\bby \(([^)]*)\)/.exec(expr)?.[1]?.split(/,\s*/);
  return [...labels].filter(
    (label) => !(grouped ?? [...added, ...names.flatMap((name) => [...labelsOf(name)])]).includes(label),
  );
}

/** Each rule as its lines say; this file of ours needs no more of YAML than that. */
const rules = read('monitoring/alerts.yaml')
  .split(/^ {6}- alert: /m)
  .slice(1)
  .map((text) => {
    const field = (name: string) =>
      new RegExp(`^ +${name}: (?:>-\\n((?: {10}.*\\n)+)|(.*)\\n)`, 'm').exec(text)?.slice(1).join('').trim() ?? '';
    const words = ['summary', 'description', 'command'].map(field);
    return {
      name: text.split('\n')[0] as string,
      expr: field('expr').replace(/\s+/g, ' '),
      severity: field('severity'),
      words,
    };
  });

describe('alerts', () => {
  test('go by metrics, labels and values that there are', () => {
    expect(rules.length).toBeGreaterThan(10);
    expect(rules.flatMap(({ expr }) => wrongIn(expr))).toEqual([]);
    expect(wrongIn('rate(credmon_refreshes_total{outcome="fine"}[5m])')).not.toEqual([]);
    expect(wrongIn('sum by (user) (credmon_credentials)')).not.toEqual([]);
    expect(wrongIn('credmon_credential > 0')).not.toEqual([]);
  });

  test('say in words that have a value what is wrong, and name the command to run', () => {
    for (const { name, expr, severity, words } of rules) {
      expect([name, words.filter((text) => text.length < 10), severity]).toEqual([
        name,
        [],
        expect.stringMatching(/^(?:critical|warning)$/),
      ]);
      const used = words.flatMap((text) => [...text.matchAll(/\$labels\.(\w+)/g)].map(([, label = '']) => label));
      expect([name, wrongWords(expr, used)]).toEqual([name, []]);
    }
  });

  test('name commands that there are', () => {
    const commands = readdirSync(fileURLToPath(new URL('../../src/commands/', import.meta.url)));
    for (const { name, words } of rules) {
      const command = words[2] as string;
      for (const part of command.split(/; | \| /)) {
        const [program, sub] = part.split(' ');
        expect([name, program]).toEqual([
          name,
          expect.stringMatching(/^(?:credmon|condor_on|condor_reconfig|tail|grep|ls|wc|systemctl)$/),
        ]);
        if (program === 'credmon') expect(commands).toContain(`${sub}.ts`);
      }
    }
  });

  test('are all in the document', () => {
    for (const { name } of rules) expect(read('monitoring.md')).toContain(`\`${name}\``);
  });

  const promtool = spawnSync('promtool', ['--version']).status === 0;

  test.runIf(promtool)('are rules to Prometheus, as the metrics are metrics (skipped without promtool)', () => {
    execFileSync('promtool', ['check', 'rules', join(docs, 'monitoring/alerts.yaml')], { stdio: 'pipe' });
  });

  test.runIf(promtool)('come when they should, and not when all is well (skipped without promtool)', () => {
    const dir = mkdtempSync(join(tmpdir(), 'credmon-alerts-'));
    onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
    const of = (more: string) => `{instance="ap", job="node"${more}}`;
    const series = (name: string, labels: string, values: string) => ({ series: `${name}${of(labels)}`, values });
    // Time begins at 0 there; one value each minute, for two hours.
    const well = [
      series('credmon_build_info', ', version="1"', '1x120'),
      series('credmon_last_collection_timestamp_seconds', '', '0+60x120'),
      series('credmon_access_token_first_expiry_timestamp_seconds', ', provider="p"', '900+60x120'),
      series('credmon_access_token_minimum_seconds', '', '360x120'),
      series('credmon_backlog_lateness_seconds', ', provider="p"', '3x120'),
      series('credmon_refreshes_total', ', provider="p", outcome="ok"', '0+100x120'),
      series('credmon_refreshes_total', ', provider="p", outcome="transient"', '0+1x120'),
      series('credmon_refreshes_total', ', provider="p", outcome="invalid_client"', '0x120'),
      series('credmon_lost_grant_suspects', ', provider="p"', '0x120'),
      series('credmon_credentials', ', provider="p", state="fresh"', '90x120'),
      series('credmon_credentials', ', provider="p", state="login-needed"', '10x120'),
      series('credmon_credentials', ', provider="p", state="damaged"', '0x120'),
      series('credmon_last_pass_timestamp_seconds', '', '0+60x120'),
      series('credmon_process_start_time_seconds', '', '0x120'),
      series('credmon_config_last_reload_successful', '', '1x120'),
      series('credmon_log_lines_total', ', level="error"', '0x120'),
      series('credmon_process_open_fds', '', '40x120'),
      series('credmon_process_max_fds', '', '1024x120'),
      series('credmon_ssh_logins_ended_total', ', outcome="unavailable"', '0x120'),
    ];
    const ill: readonly (readonly [string, string, string, string])[] = [
      ['CredmonSilent', 'credmon_last_collection_timestamp_seconds', '', '0x120'],
      ['CredmonTokensRunOut', 'credmon_access_token_first_expiry_timestamp_seconds', ', provider="p"', '100+60x120'],
      ['CredmonBacklog', 'credmon_backlog_lateness_seconds', ', provider="p"', '300x120'],
      ['CredmonRefreshesFail', 'credmon_refreshes_total', ', provider="p", outcome="transient"', '0+50x120'],
      ['CredmonClientRefused', 'credmon_refreshes_total', ', provider="p", outcome="invalid_client"', '0+1x120'],
      ['CredmonGrantsMayBeLost', 'credmon_lost_grant_suspects', ', provider="p"', '2x120'],
      ['CredmonLoginsNeeded', 'credmon_credentials', ', provider="p", state="login-needed"', '50x120'],
      ['CredmonDamaged', 'credmon_credentials', ', provider="p", state="damaged"', '1x120'],
      ['CredmonPassOld', 'credmon_last_pass_timestamp_seconds', '', '0x120'],
      ['CredmonConfiguration', 'credmon_config_last_reload_successful', '', '0x120'],
      ['CredmonErrors', 'credmon_log_lines_total', ', level="error"', '0+1x120'],
      ['CredmonRestarts', 'credmon_process_start_time_seconds', '', '0+600x120'],
      ['CredmonDescriptors', 'credmon_process_open_fds', '', '1000x120'],
      ['CredmonSshLogins', 'credmon_ssh_logins_ended_total', ', outcome="unavailable"', '0+1x120'],
    ];
    const names = rules.map(({ name }) => name);
    expect([...ill.map(([name]) => name), 'CredmonAbsent'].sort()).toEqual([...names].sort());
    const alert = `count by (alertname) (ALERTS{alertstate="firing"})`;
    const expected = (...firing: readonly string[]) => [
      {
        expr: alert,
        eval_time: '110m',
        exp_samples: firing.map((name) => ({ labels: `{alertname="${name}"}`, value: 1 })),
      },
    ];
    const tests = [
      { interval: '1m', input_series: well, promql_expr_test: expected() },
      { interval: '1m', input_series: [], promql_expr_test: expected('CredmonAbsent') },
      ...ill.map(([name, metric, labels, values]) => {
        const one = series(metric, labels, values);
        const input = [...well.filter(({ series }) => series !== one.series), one];
        return { interval: '1m', input_series: input, promql_expr_test: expected(name) };
      }),
    ];
    const file = join(dir, 'test.json');
    const rule_files = [join(docs, 'monitoring/alerts.yaml')];
    writeFileSync(file, JSON.stringify({ rule_files, evaluation_interval: '1m', tests }));
    const { status, stdout, stderr } = spawnSync('promtool', ['test', 'rules', file], { encoding: 'utf8' });
    expect([status, stdout + stderr]).toEqual([0, expect.stringContaining('SUCCESS')]);
  });
});

describe('the dashboard', () => {
  interface Target {
    readonly expr: string;
    readonly legendFormat?: string;
    readonly datasource: { readonly uid: string };
  }
  interface Panel {
    readonly id: number;
    readonly type: string;
    readonly title: string;
    readonly datasource?: { readonly uid: string };
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
    readonly targets?: readonly Target[];
  }
  const dashboard = JSON.parse(read('monitoring/dashboard.json'));
  const panels: readonly Panel[] = dashboard.panels;

  test('goes by metrics, labels and values that there are', () => {
    const targets = panels.flatMap(({ targets = [] }) => targets);
    expect(targets.length).toBeGreaterThan(20);
    expect(targets.flatMap(({ expr }) => wrongIn(expr))).toEqual([]);
    for (const { expr, legendFormat = '' } of targets) {
      const used = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = '']) => label);
      expect([expr, wrongWords(expr, used)]).toEqual([expr, []]);
    }
  });

  test('can be imported: it has its data source from a variable, and every panel its own place', () => {
    expect(dashboard).toMatchObject({ title: 'credmon', schemaVersion: expect.any(Number) });
    expect(dashboard).not.toHaveProperty('id');
    const variables = new Map<string, { type: string; definition?: string }>(
      dashboard.templating.list.map((one: { name: string }) => [one.name, one]),
    );
    expect(variables.get('datasource')).toMatchObject({ type: 'datasource', query: 'prometheus' });
    for (const [, { type, definition = '' }] of variables) {
      if (type !== 'query') continue;
      const [, metric = '', label = ''] = /^label_values\((\w+), (\w+)\)$/.exec(definition) ?? [];
      expect(written).toContain(metric);
      expect([...added, ...labelsOf(metric)]).toContain(label);
    }
    const text = read('monitoring/dashboard.json');
    for (const [, name = ''] of text.matchAll(/\$\{?(\w+)\}?/g))
      expect([...variables.keys(), '__rate_interval', '__all']).toContain(name);
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const taken = new Set<string>();
    for (const { type, title, datasource, gridPos, targets = [] } of panels) {
      expect([title, gridPos.x + gridPos.w <= 24]).toEqual([title, true]);
      if (type !== 'row')
        for (const uid of [datasource?.uid, ...targets.map((one) => one.datasource.uid)])
          expect(uid).toMatch(/^\$\{datasource\}$/);
      for (let x = 0; x < gridPos.w; x++)
        for (let y = 0; y < gridPos.h; y++) {
          const place = `${gridPos.x + x} ${gridPos.y + y}`;
          expect([title, taken.has(place)]).toEqual([title, false]);
          taken.add(place);
        }
    }
  });

  test('shows everything that there is', () => {
    const text = read('monitoring/dashboard.json') + read('monitoring/alerts.yaml');
    const shown = [...all.keys()].filter((name) => text.includes(name));
    expect(shown).toEqual([...all.keys()]);
  });
});

describe('the document', () => {
  const text = read('monitoring.md');

  test('has every metric, label and value, and none that there is not', () => {
    const named = new Set([...text.matchAll(/`(credmon_\w+[a-z])`/g)].map(([, name]) => name));
    expect([...named].sort()).toEqual([...all.keys()].sort());
    for (const label of new Set(samples.flatMap(({ labels }) => Object.keys(labels))))
      expect(text).toContain(`\`${label}\``);
    for (const value of [...refreshOutcomes, ...ended, ...valuesOf('credmon_credentials', 'state')])
      expect(text).toContain(`\`${value}\``);
  });

  test('tells of lines that credmond can write', () => {
    const src = fileURLToPath(new URL('../../src/daemon/', import.meta.url));
    // The status says the last of them as well.
    const source = [...readdirSync(src), '../core/watching.ts']
      .map((name) => readFileSync(join(src, name), 'utf8'))
      .join('\n');
    const rows = text
      .slice(text.indexOf('## The log'))
      .split('\n')
      .filter((line) => line.startsWith('| `'));
    const lines = rows.flatMap((row) =>
      [...(row.split(' | ')[0] ?? '').matchAll(/`([^`]+)`/g)].map(([, line = '']) => line),
    );
    expect(lines.length).toBeGreaterThan(20);
    const parts = lines
      .flatMap((line) => line.split(/…|U\/P|ISSUER|^N |\bU's/))
      .map((part) => part.replace(/^[:. ;]+|[: ;]+$/g, ''));
    expect(parts.filter((part) => part.length > 3 && !source.includes(part))).toEqual([]);
  });

  test('is linked to', () => {
    expect(readFileSync(join(docs, '../README.md'), 'utf8')).toContain('(docs/monitoring.md)');
    for (const [, name = ''] of text.matchAll(/\]\((monitoring\/[\w.]+)\)/g))
      expect(read(name).length).toBeGreaterThan(100);
  });
});
