import { setFlagsFromString } from 'node:v8';

/** Of what is in use, by how much more the heap grows before it is collected: per cent. V8 grows it to the double and more. */
const slack = 8;

/** From now on memory counts for more than the time that collecting takes: with very many credentials nearly all of it is in use. */
export const keepHeapSmall = (): void => setFlagsFromString(`--heap-growing-percent=${slack}`);
