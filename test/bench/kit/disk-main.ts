/*
 * What the disk allows, in a process of its own: node disk-main.mjs DIR COUNT AT_ONCE. Each file is replaced as a refresh token
 * is (replace.ts), each in a folder of its own where one lies already, with nothing else done. Prints one line of JSON.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tokenOf } from './issuer.js';
import { replaceDurably } from './replace.js';
import { together } from './together.js';

const [dir = '.', count = '1000', atOnce = '64'] = process.argv.slice(2);
const text = (generation: number) => JSON.stringify({ refresh_token: tokenOf('user123456/demo', generation) });
const folders = Array.from({ length: Number(count) }, (_, n) => join(dir, `disk${n}`));
for (const folder of folders) {
  mkdirSync(folder);
  writeFileSync(join(folder, 'demo.top'), text(0), { mode: 0o600 });
}
const replace = (folder: string) => replaceDurably(folder, 'demo.top', text(1));

await together(folders.slice(0, 64), Number(atOnce), replace);
const { seconds, cpuMs } = await together(folders, Number(atOnce), replace);
process.stdout.write(`${JSON.stringify({ rate: folders.length / seconds, cpuMs: cpuMs / folders.length })}\n`);
