export interface Line {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Plot {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly lines: readonly Line[];
  /** Steps of x are times ten. */
  readonly decades?: boolean;
  /** A dashed line across. */
  readonly target?: { readonly name: string; readonly y: number };
  /** Where y ends at the least. */
  readonly top?: number;
}

const [width, height] = [720, 360];
const [left, right, above, below] = [64, 176, 44, 52];
/** Told apart by most who do not see all colours (Okabe and Ito), on white as on black. */
const colours = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00'];

/** One chart as an SVG of its own, in the colours that the reader's screen is set to. */
export function svgOf({ title, x, y, lines, decades = false, target, top = 0 }: Plot): string {
  const points = lines.flatMap((line) => line.points);
  const xs = points.map(([at]) => at);
  const [from, to] = [Math.min(...xs), Math.max(...xs)];
  const ySteps = steps(Math.max(top, target?.y ?? 0, ...points.map(([, value]) => value)));
  const highest = ySteps.at(-1) as number;
  const along = decades ? Math.log10 : (value: number) => value;
  const across = (value: number) =>
    left + ((along(value) - along(from)) / (along(to) - along(from) || 1)) * (width - left - right);
  const up = (value: number) => height - below - (value / highest) * (height - above - below);
  const xSteps = decades ? tens(from, to) : steps(to - from).map((step) => step + from);
  const shapes: string[] = [];
  for (const step of ySteps) {
    shapes.push(`<path class="grid" d="M${left} ${px(up(step))}H${width - right}"/>`);
    shapes.push(`<text x="${left - 8}" y="${px(up(step) + 4)}" text-anchor="end">${figure(step)}</text>`);
  }
  for (const step of xSteps) {
    if (step > to) continue;
    shapes.push(`<text x="${px(across(step))}" y="${height - below + 20}" text-anchor="middle">${figure(step)}</text>`);
  }
  if (target) {
    shapes.push(`<path class="target" d="M${left} ${px(up(target.y))}H${width - right}"/>`);
    const line = above + 12 + 20 * lines.length;
    shapes.push(`<path class="target" d="M${width - right + 12} ${line - 4}h16"/>`);
    shapes.push(`<text x="${width - right + 34}" y="${line}">${escaped(target.name)}</text>`);
  }
  for (const [n, { name, points: all }] of lines.entries()) {
    const colour = colours[n % colours.length];
    const path = all.map(([at, value]) => `${px(across(at))} ${px(up(value))}`).join('L');
    shapes.push(`<path d="M${path}" fill="none" stroke="${colour}" stroke-width="${all.length > 60 ? 1 : 2}"/>`);
    if (all.length <= 60)
      for (const [at, value] of all)
        shapes.push(`<circle cx="${px(across(at))}" cy="${px(up(value))}" r="3" fill="${colour}"/>`);
    const line = above + 12 + 20 * n;
    shapes.push(`<path d="M${width - right + 12} ${line - 4}h16" stroke="${colour}" stroke-width="3"/>`);
    shapes.push(`<text x="${width - right + 34}" y="${line}">${escaped(name)}</text>`);
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(title)}">
<style>
text{font:12px system-ui,sans-serif;fill:#333}.title{font-size:15px;font-weight:600}.grid{stroke:#ddd}.target{stroke:#b00;stroke-dasharray:6 4}.back{fill:#fff}
@media (prefers-color-scheme:dark){text{fill:#ccc}.grid{stroke:#333}.target{stroke:#f66}.back{fill:#0d1117}}
</style>
<rect class="back" width="${width}" height="${height}"/>
<text class="title" x="${left}" y="24">${escaped(title)}</text>
<text x="${(left + width - right) / 2}" y="${height - 12}" text-anchor="middle">${escaped(x)}</text>
<text transform="translate(16 ${(above + height - below) / 2}) rotate(-90)" text-anchor="middle">${escaped(y)}</text>
${shapes.join('\n')}
</svg>
`;
}

const px = (value: number): string => value.toFixed(1);
const figure = (value: number): string => Number(value.toPrecision(6)).toLocaleString('en-GB');
const escaped = (text: string): string => text.replace(/[&<>"]/g, (mark) => `&#${mark.charCodeAt(0)};`);

/** From 0 to the first that is not below `end`: round numbers, about five of them. */
function steps(end: number): number[] {
  if (!(end > 0)) return [0, 1];
  const rough = end / 5;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 2.5, 5].find((one) => one * ten >= rough) ?? 10) * ten;
  return Array.from({ length: Math.ceil(end / step - 1e-9) + 1 }, (_, n) => n * step);
}

/** The powers of ten from one to the other. */
function tens(from: number, to: number): number[] {
  const all: number[] = [];
  for (let ten = 10 ** Math.ceil(Math.log10(from)); ten <= to; ten *= 10) all.push(ten);
  return all;
}
