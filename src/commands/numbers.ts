import { InvalidArgumentError } from 'commander';

/** A positive whole number of seconds, for commander. */
export function wholeSeconds(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('It must be a positive whole number of seconds.');
  return Number(text);
}
