import { readFileSync } from 'node:fs';
import { type Lock, sbom } from './sbom.js';

/* Prints what an installation consists of: npm run -s sbom >credmon.cdx.json */
const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as Lock;
process.stdout.write(`${JSON.stringify(sbom(lock), null, 2)}\n`);
