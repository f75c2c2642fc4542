import { Recent } from './recent.js';

/** As many texts are remembered. */
const most = 10_000;

/** Says what is met again and again: each text the first time. */
export class Once {
  readonly #said = new Recent(most);

  constructor(private readonly write: (text: string) => void) {}

  say(text: string): void {
    if (!this.#said.has(text)) this.write(text);
    this.#said.add(text);
  }
}
