import { fail } from './failure.js';
import { explainName, nameTrouble, parseStem, stem } from './names.js';
import { badScope, parseScopes, type Scopes, spaced } from './scopes.js';
import { plain } from './text.js';

/** One credential that a job asks for: a service of its `use_oauth_services`, and what is to be known about its token. */
export interface ServiceRequest {
  readonly service: string;
  readonly handle?: string;
  /** Absent: none were named, and the provider's own are meant. */
  readonly scopes?: Scopes;
  readonly audience?: string;
  /** What a `<service>_oauth_options` command says, as it stands. */
  readonly options?: string;
}

/** The same in words that nobody has looked at yet. An empty text means that there is none. */
interface RequestWords {
  readonly service: string;
  readonly handle?: string | undefined;
  readonly scopes?: string | undefined;
  readonly audience?: string | undefined;
  readonly options?: string | undefined;
}

/** As the storer is given it. */
const form = 'SERVICE[&handle=NAME][&scopes=A,B][&audience=WHOM][&options=WORDS]';

/** Looks at the words of a request. Throws Failed('usage') that begins with where the bad one is: file and line, say. */
export function requestOf(words: RequestWords, where: (part: keyof RequestWords) => string): ServiceRequest {
  const bad = (part: keyof RequestWords, what: string, hint?: string) => fail('usage', `${where(part)}: ${what}`, hint);
  for (const part of ['service', 'handle'] as const) {
    const name = words[part];
    const trouble = name === undefined ? undefined : nameTrouble(name);
    if (trouble) bad(part, `"${plain(name)}" cannot name a ${part}: ${explainName(trouble)}`);
  }
  for (const part of ['audience', 'options'] as const) {
    // One request is one word for the storer and one line for people; a control character makes neither.
    if (/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(words[part] ?? ''))
      bad(
        part,
        `the ${part} "${plain(words[part])}" has characters in it that cannot be shown`,
        'it must be one line of text',
      );
  }
  const scopes = parseScopes(words.scopes ?? '');
  const odd = badScope(scopes);
  if (odd !== undefined)
    bad('scopes', `"${plain(odd)}" cannot be a scope`, 'scopes are printable, without quotes or backslashes');
  // Nothing is escaped on the way to the storer: a scope with `&key=` in it could not be told from a key.
  const key = scopes.find((scope) => /&\w*=/.test(scope));
  if (key !== undefined) bad('scopes', `"${plain(key)}" cannot be a scope`, `a request is written ${form}`);
  return {
    service: words.service,
    ...(words.handle !== undefined && { handle: words.handle }),
    ...(scopes.length > 0 && { scopes }),
    ...(words.audience && { audience: words.audience }),
    ...(words.options && { options: words.options }),
  };
}

/**
 * One argument of SEC_CREDENTIAL_STORER. condor_submit writes the keys in this order and escapes nothing
 * (submit_utils.cpp, process_job_credentials), so a value ends where a later key begins, not at the next `&`:
 * an audience may be `https://x/?a=b&c=d`. `scope=` is how the reference's usage text spells `scopes=`.
 * Throws Failed('usage').
 */
export function parseRequest(argument: string): ServiceRequest {
  const where = `the request "${plain(argument)}"`;
  const [, service = '', rest = ''] = /^([^&]*)(.*)$/s.exec(argument) ?? [];
  const match =
    /^(?:&handle=([^&]*))?(?:&scopes?=(.*?)(?=&audience=|&options=|$))?(?:&audience=(.*?)(?=&options=|$))?(?:&options=(.*))?$/s.exec(
      rest,
    );
  if (match === null) {
    const [key = ''] = rest.replace(/^&handle=[^&]*/, '').split('=');
    fail('usage', `${where} has "${plain(key)}" where no such key can stand`, `a request is written ${form}`);
  }
  const [, handle, scopes, audience, options] = match;
  return requestOf({ service, handle, scopes, audience, options }, () => where);
}

/**
 * The same request by the names that the credential is stored under, and whose of `services` it is: `osdf_ro` is the handle
 * `ro` of `osdf`, since it is that file. Undefined where it is none of theirs.
 */
export function asStored(
  request: ServiceRequest,
  services: Iterable<string>,
): { readonly request: ServiceRequest; readonly provider: string } | undefined {
  const parsed = parseStem(stem(request), services);
  if (parsed === undefined) return undefined;
  const { service: _, handle: __, ...rest } = request;
  const { service, handle, provider } = parsed;
  return { request: { service, ...(handle !== undefined && { handle }), ...rest }, provider };
}

/** The words that condor_submit gives its storer: what parseRequest reads. */
export function argumentOf({ service, handle, scopes, audience, options }: ServiceRequest): string {
  const parts = [
    handle && `handle=${handle}`,
    scopes?.length && `scopes=${scopes.join(',')}`,
    audience && `audience=${audience}`,
    options && `options=${options}`,
  ];
  return [service, ...parts.filter(Boolean)].join('&');
}

/**
 * The command that logs in to what is asked for, ready to be pasted into a shell. `options` have no place in it. `force`:
 * also where a good login is there.
 */
export function loginWords({ service, handle, scopes, audience }: ServiceRequest, { force = false } = {}): string {
  return commandWords('login', service, [
    ...(handle === undefined ? [] : ['--handle', handle]),
    ...(scopes === undefined || scopes.length === 0 ? [] : ['--scope', spaced(scopes)]),
    ...(audience === undefined ? [] : ['--audience', audience]),
    ...(force ? ['--force'] : []),
  ]);
}

/** The command that gives a login up. */
export const logoutWords = ({ service, handle }: Pick<ServiceRequest, 'service' | 'handle'>): string =>
  commandWords('logout', service, handle === undefined ? [] : ['--handle', handle]);

function commandWords(command: string, service: string, flags: readonly string[]): string {
  // A service may begin with a hyphen; after `--` it is not taken for an option.
  const words = service.startsWith('-') ? [...flags, '--', service] : [service, ...flags];
  return ['credmon', command, ...words].map(quoted).join(' ');
}

/** One word for a shell: as it stands where no shell makes anything of it (zsh expands a leading `=`); else in single quotes. */
export function quoted(word: string): string {
  return /^[\w@%+:,./-][\w@%+:,./=-]*$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The command that logs in to several of one provider with one approval. */
export const severalWords = (requests: readonly ServiceRequest[]): string =>
  ['credmon login', ...requests.map((request) => `--request ${quoted(argumentOf(request))}`)].join(' ');
