import { redact } from '../../core/redact.js';
import { harmlessJson, plain } from '../../core/text.js';
import { fold } from '../../login/faces/width.js';
import { type Finding, inOrder, type Level, type Mend, sections, tally } from './finding.js';

const words: Readonly<Record<Level, string>> = { error: 'ERROR', warning: 'warn', note: 'note', ok: 'ok' };
const indent = 7;

/**
 * Section by section, the worst first. Prose is folded to `columns`; commands and lines of configuration are not, so that
 * they can be copied.
 */
export function report(findings: readonly Finding[], columns: number): string[] {
  const ordered = inOrder(findings);
  const lines: string[] = [];
  for (const section of sections) {
    const here = ordered.filter((finding) => finding.section === section);
    if (here.length === 0) continue;
    if (lines.length > 0) lines.push('');
    lines.push(section.charAt(0).toUpperCase() + section.slice(1));
    for (const finding of here) lines.push(...paragraph(finding, Math.max(20, columns)));
  }
  return [...lines, '', ...fold(summary(findings), Math.max(20, columns))];
}

function paragraph({ level, about, what, where, mend }: Finding, columns: number): string[] {
  const head = ` ${words[level].padEnd(indent - 2)} `;
  const whole = about === undefined ? what : `${about}: ${what}`;
  const place = where === undefined || whole.includes(where) ? '' : ` (${where})`;
  const pad = ' '.repeat(indent);
  const [first = '', ...others] = fold(safe(whole + place), columns - indent);
  return [head + first, ...others.map((line) => pad + line), ...(mend ? mending(mend, columns) : [])];
}

function mending(mend: Mend, columns: number): string[] {
  const pad = ' '.repeat(indent);
  if ('do' in mend) return fold(`→ ${safe(mend.do)}`, columns - indent, 2).map((line) => pad + line);
  const [verb, text] = 'run' in mend ? ['run:', mend.run] : ['set:', mend.set];
  return text.split('\n').map((line, i) => `${pad}${i === 0 ? verb : '    '} ${safe(line)}`);
}

const safe = (text: string): string => plain(redact(text), 2000);

/** `1 error, 2 warnings, 3 notes; 21 things are as they should be.` */
export function summary(findings: readonly Finding[]): string {
  const { error, warning, note, ok } = tally(findings);
  const many = (n: number, word: string) => `${n} ${word}${n === 1 ? '' : 's'}`;
  const bad = [
    ...(error > 0 ? [many(error, 'error')] : []),
    ...(warning > 0 ? [many(warning, 'warning')] : []),
    ...(note > 0 ? [many(note, 'note')] : []),
  ].join(', ');
  const good = ok === 1 ? '1 thing is as it should be' : `${ok} things are as they should be`;
  return bad === '' ? `All is well: ${good}.` : `${bad}; ${good}.`;
}

export function json(findings: readonly Finding[], more: Readonly<Record<string, unknown>>): string {
  return redact(harmlessJson({ v: 1, ...more, summary: tally(findings), findings: inOrder(findings) }));
}
