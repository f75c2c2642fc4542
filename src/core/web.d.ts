// core compiles without Node's types. These are the platform types that it mentions: the one that its ports pass on, with
// what makes one, and the one pure parser that every JavaScript host has.
interface AbortSignal {
  readonly aborted: boolean;
  readonly reason: unknown;
  throwIfAborted(): void;
  addEventListener(name: 'abort', then: () => void, options?: { readonly once?: boolean }): void;
  removeEventListener(name: 'abort', then: () => void): void;
}
declare class AbortController {
  readonly signal: AbortSignal;
  abort(reason?: unknown): void;
}
declare class URL {
  constructor(url: string);
  readonly host: string;
  readonly hostname: string;
  readonly href: string;
  readonly password: string;
  readonly protocol: string;
  readonly username: string;
}
