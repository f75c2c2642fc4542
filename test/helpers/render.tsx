import { render } from 'ink-testing-library';
import type { ReactElement } from 'react';

export interface Rendered {
  /** The last frame, with its escape sequences. */
  frame(): string;
  rerender(element: ReactElement): void;
  /** Keys as a terminal sends them. */
  type(keys: string): void;
  unmount(): void;
}

/** One component on a terminal that is 100 columns wide. The only file that knows ink-testing-library. */
export function renderOne(element: ReactElement): Rendered {
  const { lastFrame, rerender, stdin, unmount } = render(element);
  return { frame: () => lastFrame() ?? '', rerender, type: (keys) => stdin.write(keys), unmount };
}
