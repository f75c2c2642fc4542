// Stands in for keyring-child.js where no Secret Service runs: same protocol, items in a file. FAKE_KEYRING is a JSON
// object: {file, mode}; mode is one of ok, locked, hang, die, garbage, absent.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const { file, mode } = JSON.parse(process.env.FAKE_KEYRING);

if (file) writeFileSync(`${file}.seen`, JSON.stringify([process.argv, process.execArgv, process.env]));

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

createInterface({ input: process.stdin }).on('line', (line) => {
  const { n, op, account, value } = JSON.parse(line);
  const items = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
  const keep = () => writeFileSync(file, JSON.stringify(items));
  if (mode === 'hang') return;
  if (mode === 'die') process.exit(3);
  if (mode === 'garbage') return process.stdout.write('what?\n');
  if (mode === 'absent') return say({ n, ok: false, code: 'MODULE_NOT_FOUND', message: "Cannot find module 'keytar'" });
  if (mode === 'locked') {
    if (op === 'set') return say({ n, ok: false, message: 'Cannot create an item in a locked collection' });
    return say({ n, ok: true, value: op === 'get' ? null : false });
  }
  if (op === 'get') return say({ n, ok: true, value: items[account] ?? null });
  const had = account in items;
  if (op === 'delete') delete items[account];
  else items[account] = value;
  keep();
  return say({ n, ok: true, value: op === 'delete' ? had : null });
});
