/** Of an option that may be given several times: all of them, for commander. */
export const more = (one: string, before: readonly string[]): readonly string[] => [...before, one];
