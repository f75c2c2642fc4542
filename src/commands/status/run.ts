import { loadConfig } from '../../config/load.js';
import { codeOf, json, look, text } from './view.js';
import { watch } from './watch.js';

export interface StatusOptions {
  readonly json: boolean;
  readonly watch: boolean;
  readonly config?: string;
}

/** Shows how credentials stand. Resolves to 0, or to 79 when one of the person's own needs a login. */
export async function runStatus(options: StatusOptions): Promise<number> {
  const config = await loadConfig({ env: process.env, ...(options.config !== undefined && { file: options.config }) });
  if (options.watch) return watch(config, options.json);
  const view = await look(config);
  process.stdout.write(options.json ? `${json(view)}\n` : `${text(view, config).join('\n')}\n`);
  return codeOf(view);
}
