import { type Instance, render } from 'ink';
import type { ReactElement } from 'react';
import type { Canvas } from './screen.js';

/** What Ink lays out on a canvas, which does the drawing: it begins with the first frame. */
export function mount(stdin: NodeJS.ReadStream, canvas: Canvas, { screenReader = false } = {}) {
  let instance: Instance | undefined;
  let exited: Promise<unknown> | undefined;
  return {
    draw(app: ReactElement): void {
      if (instance) {
        instance.rerender(app);
        return;
      }
      instance = render(app, {
        // Ink draws on nothing but `write`, `columns` and `rows`: see Canvas.
        stdout: canvas as unknown as NodeJS.WriteStream,
        stdin,
        debug: true,
        exitOnCtrlC: false,
        patchConsole: false,
        isScreenReaderEnabled: screenReader,
      });
      exited = instance.waitUntilExit();
    },
    /** Resolves when the keyboard is let go. */
    async end(): Promise<void> {
      instance?.unmount();
      await exited;
    },
  };
}
