import { readFileSync } from 'node:fs';
import { readKnobs } from '../../config/knobs.js';
import { fail } from '../../core/failure.js';
import { parseRequest } from '../../core/request.js';
import type { SubmitWorld } from '../../core/submit.js';
import { plain } from '../../core/text.js';
import type { Env } from '../../stores/state.js';
import type { Asked } from './group.js';

/** Where requests come from, as options name it. */
export interface Sources {
  readonly request: readonly string[];
  readonly submit: readonly string[];
  readonly dag: readonly string[];
}

export interface AskedFor {
  readonly asked: readonly Asked[];
  /** What cannot be told yet, a sentence each: a submit file that another node writes. */
  readonly unknown: readonly string[];
}

/** Reads submit files and DAGs only if there are any. Throws Failed('usage'). */
export async function askedFor({ request, submit, dag }: Sources, env: Env): Promise<AskedFor> {
  const asked: Asked[] = request.map((words) => ({ request: parseRequest(words), where: `--request ${plain(words)}` }));
  const unknown: string[] = [];
  if (submit.length + dag.length === 0) return { asked, unknown };

  const knobs = await readKnobs(env);
  const world: SubmitWorld = { read, env: (name) => env[name], knob: (name) => knobs?.get(name) };
  const { submitRequests } = await import('../../core/submit.js');
  for (const file of submit) {
    const text = read(file) ?? fail('usage', `--submit: there is no file ${plain(file)}`, 'check the name');
    for (const one of submitRequests({ file, text }, world)) asked.push({ request: one, where: plain(file) });
  }
  if (dag.length === 0) return { asked, unknown };
  const { readDag, requestsOf } = await import('../../core/dag.js');
  for (const file of dag) {
    const found = requestsOf(readDag(file, world), world);
    for (const { request: one, nodes } of found.requests) {
      const [first = '', ...more] = nodes;
      const node = more.length === 0 ? `node ${plain(first)}` : `node ${plain(first)} and ${more.length} more`;
      asked.push({ request: one, where: `${plain(file)}, ${node}` });
    }
    unknown.push(...found.unknown);
  }
  return { asked, unknown };
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    return fail('usage', `cannot read ${plain(path)} (${code})`, 'check its name, owner and mode', cause);
  }
}
