import * as v from 'valibot';
import type { Kept } from '../core/ports.js';
import type { EpochMs } from '../core/time.js';
import { damaged } from './records.js';

const text = v.pipe(v.string(), v.minLength(1));
const moment = v.pipe(
  v.number(),
  v.transform((n) => n as EpochMs),
);
const scopes = v.array(v.string());

const schema = v.object({
  provider: text,
  handle: v.exactOptional(text),
  grant: v.object({
    refreshToken: text,
    scopes: v.exactOptional(scopes),
    audience: v.exactOptional(v.string()),
    ends: v.exactOptional(moment),
  }),
  token: v.exactOptional(
    v.object({
      accessToken: text,
      tokenType: text,
      refreshToken: v.exactOptional(text),
      issued: moment,
      expires: moment,
      lifeFrom: v.picklist(['expires_in', 'jwt', 'default']),
      scopes: v.exactOptional(scopes),
      subject: v.exactOptional(v.object({ iss: v.string(), sub: v.string(), name: v.string() })),
    }),
  ),
  who: v.exactOptional(v.string()),
  since: moment,
  dead: v.exactOptional(v.object({ since: moment, why: v.string() })),
});

/** What was stored, judged. Throws Failed('storage') that says what is wrong, without any value: it may be secret. */
export function keptIn(stored: unknown, where: string, hint?: string): Kept {
  const result = v.safeParse(schema, stored, { abortEarly: true });
  if (result.success) return result.output;
  const field = v.getDotPath(result.issues[0]);
  return damaged(where, field === null ? 'it holds no credential' : `${field} is missing or wrong`, hint);
}
