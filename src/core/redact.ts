/**
 * The last guard: what must never be shown is taken out of a text that is about to be logged or thrown.
 * JWTs, `name=value` and `"name":"value"` pairs of secret OAuth parameters (also in JSON that is itself a string of
 * JSON, and as Node prints objects), and Authorization headers. A value in quotes is taken out up to the closing one.
 */
const jwt = /\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?/g;
const parameter =
  /\b(access_token|refresh_token|id_token|device_code|client_secret|subject_token|actor_token|vault_token|code|assertion|password)(\\*["']?\s*[=:]\s*)(?:(\\*["'])(?:(?!\3)(?:\\[\s\S]|[^\\]))*|[^\s"&,}]+)/gi;
const header = /\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}/g;

export function redact(text: string): string {
  return text.replace(header, '$1 …').replace(jwt, '…').replace(parameter, '$1$2$3…');
}
