/*
 * Puts what the benches have measured into docs/benchmarks.md and draws the plots beside it.
 *
 *     npm run bench:docs -- DIR
 *
 * DIR holds what they left, called after their scripts: steady.json (or steady.md) of `npm run bench:steady -- --json …`, and so
 * on; of those that only print, startup.txt with what they printed. Each takes the place of what stands between `<!-- steady -->`
 * and `<!-- /steady -->`; those that are not in DIR stay as they are.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { filled, plotsOf } from './kit/docs.js';
import type { Kept } from './kit/outcome.js';
import { svgOf } from './kit/plot.js';

const [dir] = process.argv.slice(2);
if (dir === undefined) throw new Error('name the folder with the outcomes');
const [page, folder] = ['docs/benchmarks.md', 'docs/plots'];
const found = (name: string) => (existsSync(join(dir, name)) ? readFileSync(join(dir, name), 'utf8') : undefined);
const plots = plotsOf((name) => JSON.parse(found(`${name}.json`) ?? 'null') as Kept | null);
mkdirSync(folder, { recursive: true });
for (const [name, plot] of Object.entries(plots)) writeFileSync(join(folder, `${name}.svg`), svgOf(plot));
const { text, taken } = filled(readFileSync(page, 'utf8'), found, plots);
writeFileSync(page, text);
console.log(`${page}: ${taken.join(', ') || 'nothing'}; plots: ${Object.keys(plots).join(', ') || 'none'}`);
