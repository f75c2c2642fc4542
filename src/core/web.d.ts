// core compiles without Node's types. These are the platform types that it mentions: the one that its ports pass on, and
// the one pure parser that every JavaScript host has.
interface AbortSignal {
  readonly aborted: boolean;
  readonly reason: unknown;
  throwIfAborted(): void;
}
declare class URL {
  constructor(url: string);
  readonly hostname: string;
  readonly password: string;
  readonly protocol: string;
  readonly username: string;
}
