/*
 * Draws docs/login.svg: the real login screen in a real terminal (tmux, 80x24), with an example's code and link.
 *
 *     npm run picture
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const [columns, rows] = [80, 24];
const cell = { width: 8.4, height: 17 };
const project = resolve(import.meta.dirname, '../..');

/** Shows one state for ten seconds. */
const driver = `
import { openFace } from ${JSON.stringify(`${project}/dist/login/faces/index.js`)};
const { stdin, stdout, stderr } = process;
const clock = { now: () => Date.now(), steady: () => performance.now(), after: (ms, f) => { const t = setTimeout(f, ms); return () => clearTimeout(t); } };
const face = await openFace({ stdin, stdout, stderr, env: { TERM: 'xterm-256color' }, clock, account: 'alice', host: 'ap1.example.org', canOpen: false, onQuit: () => process.exit(0) });
const ask = { provider: 'cilogon', issuer: 'https://cilogon.org', scopes: ['openid', 'storage.read:/ospool', 'storage.modify:/ospool/alice', 'offline_access'] };
face.show({ at: 'code', ask, code: 'ABC-DEF-GHI', link: 'https://cilogon.org/device/', linkComplete: 'https://cilogon.org/device/?user_code=ABC-DEF-GHI', expires: Date.now() + 872_000 });
setTimeout(() => process.exit(0), 10_000);
`;

interface Style {
  bold: boolean;
  dim: boolean;
  fg: string | undefined;
  bg: string | undefined;
}

/** Half blocks are drawn as rectangles, so that the QR code scans from the picture too; all else is text. */
function svg(lines: readonly string[]): string {
  const [width, height] = [columns * cell.width + 24, rows * cell.height + 24];
  const out: string[] = [];
  lines.forEach((line, row) => {
    let column = 0;
    for (const { text, style } of runs(line)) {
      const [x, y] = [12 + column * cell.width, 12 + row * cell.height];
      if (style.bg !== undefined) out.push(rect(x, y, [...text].length * cell.width, cell.height, style.bg));
      if (/[▀▄█]/.test(text)) blocks(text, x, y, style.fg ?? '#e6e6e6', out);
      else if (text.trim() !== '') out.push(words(text, x, y + 13, style));
      column += [...text].length;
    }
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="The login screen of credmon: a code, a link and a QR code">
<rect width="${width}" height="${height}" rx="8" fill="#1b1f27"/>
<g font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="14" shape-rendering="crispEdges">
${out.join('\n')}
</g>
</svg>
`;
}

function blocks(text: string, x: number, y: number, fill: string, out: string[]): void {
  const half = cell.height / 2;
  [...text].forEach((char, i) => {
    const left = x + i * cell.width;
    if (char === '█') out.push(rect(left, y, cell.width, cell.height, fill));
    if (char === '▀') out.push(rect(left, y, cell.width, half, fill));
    if (char === '▄') out.push(rect(left, y + half, cell.width, half, fill));
  });
}

const rect = (x: number, y: number, w: number, h: number, fill: string): string =>
  `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${w.toFixed(1)}" height="${h.toFixed(1)}" fill="${fill}"/>`;

function words(text: string, x: number, y: number, { bold, dim, fg }: Style): string {
  const attributes = `${bold ? ' font-weight="bold"' : ''}${dim ? ' opacity="0.65"' : ''}`;
  const length = ([...text].length * cell.width).toFixed(1);
  const escaped = text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" textLength="${length}" xml:space="preserve" fill="${fg ?? '#e6e6e6'}"${attributes}>${escaped}</text>`;
}

const osc8 = new RegExp(`^\\]8;[^${String.fromCharCode(7)}\\\\]*[${String.fromCharCode(7)}\\\\]?`);

/** A line as runs of one style: the few SGR codes that the screen uses. */
function* runs(line: string): Iterable<{ text: string; style: Style }> {
  const style: Style = { bold: false, dim: false, fg: undefined, bg: undefined };
  const esc = String.fromCharCode(27);
  for (const part of line.split(esc)) {
    const sgr = /^\[([\d;]*)m/.exec(part);
    if (sgr) apply(style, sgr[1] ?? '');
    // OSC 8 hyperlinks: the text between them stays.
    const text = part
      .replace(/^\[[\d;]*m/, '')
      .replace(osc8, '')
      .replace(/^\\/, '');
    for (const piece of text.match(/[▀▄█]+|[^▀▄█]+/g) ?? []) yield { text: piece, style: { ...style } };
  }
}

const palette = ['#1b1f27', '#f27a7a', '#8bd47c', '#e5c76b', '#7aa8f2', '#c792ea', '#6fd3d8', '#e6e6e6'];

function apply(style: Style, codes: string): void {
  const list = codes === '' ? [0] : codes.split(';').map(Number);
  for (let i = 0; i < list.length; i++) {
    const code = list[i] ?? 0;
    if (code === 0) Object.assign(style, { bold: false, dim: false, fg: undefined, bg: undefined });
    else if (code === 1) style.bold = true;
    else if (code === 2) style.dim = true;
    else if (code === 22) Object.assign(style, { bold: false, dim: false });
    else if (code >= 30 && code <= 37) style.fg = palette[code - 30];
    else if (code >= 40 && code <= 47) style.bg = palette[code - 40];
    else if (code === 39) style.fg = undefined;
    else if (code === 49) style.bg = undefined;
    else if (code === 38 || code === 48) {
      const colour = list[i + 2] === 231 || list[i + 2] === 15 ? '#ffffff' : '#000000';
      if (code === 38) style.fg = colour;
      else style.bg = colour;
      i += 2;
    }
  }
}

const dir = mkdtempSync(join(tmpdir(), 'credmon-picture-'));
const socket = join(dir, 'tmux');
const tmux = (...args: string[]): string => execFileSync('tmux', ['-S', socket, ...args], { encoding: 'utf8' });
try {
  const file = join(dir, 'driver.mjs');
  writeFileSync(file, driver);
  tmux(
    '-f',
    '/dev/null',
    'new-session',
    '-d',
    '-x',
    String(columns),
    '-y',
    String(rows),
    `${process.execPath} ${file}`,
  );
  let screen = '';
  for (let i = 0; i < 100 && !screen.includes('ABC'); i++) {
    await pause(100);
    screen = tmux('capture-pane', '-p', '-e');
  }
  writeFileSync(join(project, 'docs/login.svg'), svg(screen.split('\n').slice(0, rows)));
} finally {
  tmux('kill-server');
  rmSync(dir, { recursive: true, force: true });
}
