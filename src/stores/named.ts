import { fail } from '../core/failure.js';
import { explainName, nameTrouble } from '../core/names.js';
import { plain } from '../core/text.js';

/** The id again; throws Failed('usage') when it is none. */
export function named(id: string): string {
  const trouble = nameTrouble(id);
  return trouble ? fail('usage', `"${plain(id)}" cannot name a credential: ${explainName(trouble)}`) : id;
}
