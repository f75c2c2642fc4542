import { Failed } from '../core/failure.js';
import { explainName, nameTrouble } from '../core/names.js';
import { plain } from '../core/text.js';

/** Refuses what cannot be the name of a login before anything is looked for. Throws Failed('usage'). */
export function checkNames(...names: readonly (string | undefined)[]): void {
  for (const name of names) {
    const trouble = name === undefined ? undefined : nameTrouble(name);
    if (trouble === undefined) continue;
    const what = `"${plain(name)}" cannot be the name of a login: ${explainName(trouble)}`;
    throw new Failed({ kind: 'usage', what, hint: 'see: credmon status' });
  }
}
