/** Lines of at most the width they were made for, with their looks. */
export type Rows = readonly string[];

/**
 * One part of a frame: the ways to draw it, from the fullest to the barest. `worth` says how much is lost by going on from
 * a way to the next; the last way is kept whatever happens, so a part that may vanish ends in no rows at all.
 */
export type Part = readonly { readonly rows: Rows; readonly worth: number }[];

/**
 * The parts, drawn as fully as `height` admits: while they are too high, the part that loses least gives way. Nothing
 * worth `limit` or more is given up; undefined when the parts are too high even so.
 */
export function squeeze(parts: readonly Part[], height: number, limit = Infinity): readonly Rows[] | undefined {
  const chosen = parts.map(() => 0);
  const way = (i: number) => parts[i]?.[chosen[i] ?? 0];
  const rows = () => parts.map((_, i) => way(i)?.rows ?? []);
  for (;;) {
    const now = rows();
    if (now.reduce((sum, part) => sum + part.length, 0) <= height) return now;
    let least = -1;
    for (const [i, part] of parts.entries()) {
      if ((chosen[i] ?? 0) + 1 >= part.length || (way(i)?.worth ?? 0) >= limit) continue;
      if (least < 0 || (way(i)?.worth ?? 0) < (way(least)?.worth ?? 0)) least = i;
    }
    if (least < 0) return undefined;
    chosen[least] = (chosen[least] ?? 0) + 1;
  }
}
