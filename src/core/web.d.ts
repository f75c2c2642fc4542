// core compiles without Node's types. This is the one platform type that its ports mention.
interface AbortSignal {
  readonly aborted: boolean;
  readonly reason: unknown;
  throwIfAborted(): void;
}
