/** Worst first. */
export const levels = ['error', 'warning', 'note', 'ok'] as const;
export type Level = (typeof levels)[number];

/** In the order in which they are shown. */
export const sections = [
  'configuration',
  'programs',
  'services',
  'secrets',
  'credential directory',
  'broker',
  'ssh logins',
  'HTCondor’s condor_credd',
  'own store',
  'metrics',
  'issuers',
  'this machine',
] as const;
export type Section = (typeof sections)[number];

/** What mends it: a command, a line of HTCondor's configuration (or several), or something in words. */
export type Mend = { readonly run: string } | { readonly set: string } | { readonly do: string };

/** One thing that was looked at. No secrets. */
export interface Finding {
  /** Stays the same for the same kind of thing: `storer.setuid`. */
  readonly id: string;
  readonly level: Level;
  readonly section: Section;
  /** The provider or service that it is about. */
  readonly about?: string;
  /** One sentence. */
  readonly what: string;
  /** A file, or the name of a knob. */
  readonly where?: string;
  readonly mend?: Mend;
}

type Rest = Pick<Finding, 'about' | 'where' | 'mend'>;
type Tell = (id: string, what: string, rest?: Rest) => Finding;
type TellBad = (id: string, what: string, rest: Rest & { readonly mend: Mend }) => Finding;

interface Teller extends Readonly<Record<'note' | 'ok', Tell>> {
  /** What is wrong comes with what mends it. */
  readonly error: TellBad;
  readonly warning: TellBad;
}

/** Makes the findings of one section. */
export function teller(section: Section): Teller {
  const at =
    (level: Level): Tell =>
    (id, what, rest = {}) => ({ id, level, section, what, ...rest });
  return { error: at('error'), warning: at('warning'), note: at('note'), ok: at('ok') };
}

/** Section by section, in each the worst first. What is as bad stays in the order in which it was found. */
export const inOrder = (findings: readonly Finding[]): readonly Finding[] =>
  [...findings].sort(
    (a, b) =>
      sections.indexOf(a.section) - sections.indexOf(b.section) || levels.indexOf(a.level) - levels.indexOf(b.level),
  );

export type Tally = Readonly<Record<Level, number>>;

export function tally(findings: readonly Finding[]): Tally {
  const count = (level: Level) => findings.filter((finding) => finding.level === level).length;
  return { error: count('error'), warning: count('warning'), note: count('note'), ok: count('ok') };
}
