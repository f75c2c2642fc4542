import { resolve } from 'node:path';

/** Where the built programs are that tests run as processes: see build.ts. */
export const programs: string = process.env.CREDMON_TEST_PROGRAMS ?? resolve(import.meta.dirname, '../..');
