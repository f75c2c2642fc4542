/**
 * Of Linux, where MIPS is the exception: codes that libuv has no names for, and Node tells as "Unknown system error -122", or
 * where it did not wait for the call, of some calls and in some versions, as "UNKNOWN".
 */
const unnamed: Readonly<Record<number, string>> = { 116: 'ESTALE', 117: 'EUCLEAN', 122: 'EDQUOT' };

/** The system's error code (ENOENT, …, or E<number>) of an error as Node throws it; undefined when it is none of the system's. */
export function systemCode(error: object): string | undefined {
  const { code, errno } = error as { readonly code?: unknown; readonly errno?: unknown };
  if (typeof code !== 'string') return undefined;
  if (/^E[A-Z0-9]+$/.test(code)) return code;
  if (!/^(?:Unknown system error|UNKNOWN$)/.test(code) || typeof errno !== 'number') return undefined;
  return unnamed[Math.abs(errno)] ?? `E${Math.abs(errno)}`;
}
