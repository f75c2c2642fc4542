import { fileURLToPath } from 'node:url';

/** A file of this package. */
export const inPackage = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
