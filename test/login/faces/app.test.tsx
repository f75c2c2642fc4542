import { describe, expect, test } from 'vitest';
import { App } from '../../../src/login/faces/ink/app.js';
import { renderOne } from '../../helpers/render.js';

const frame = { top: ['top'], left: ['left', ''], leftWidth: 10, code: ['c1', 'c2', 'c3'], bottom: ['', 'bottom'] };

describe('the app', () => {
  test('puts the rows where the frame wants them', () => {
    const { frame: last, unmount } = renderOne(<App drawn={frame} press={undefined} gone={() => {}} />);
    expect(last()).toBe('top\nleft      c1\n          c2\n          c3\n\nbottom');
    unmount();
  });

  test('keeps every row to one line', () => {
    const long = { ...frame, top: ['x'.repeat(300), '\u001B[1m漢字\u001B[22m'] };
    const { frame: last, unmount } = renderOne(<App drawn={long} press={undefined} gone={() => {}} />);
    const lines = last().split('\n');
    expect(lines).toHaveLength(7);
    expect(lines[0]).toBe(`${'x'.repeat(99)}…`);
    unmount();
  });

  test('names the keys', async () => {
    const pressed: string[] = [];
    const { type, unmount } = renderOne(<App drawn={frame} press={(key) => pressed.push(key)} gone={() => {}} />);
    for (const keys of ['q', 'C', '\r', '\u0003', '\u0001', '\u001B[A']) type(keys);
    type('\u001B');
    await new Promise(setImmediate);
    expect(pressed).toEqual(['q', 'c', 'enter', 'ctrl-c', 'ctrl-a', 'up', 'escape']);
    // Read in one piece, as when the program was busy.
    pressed.length = 0;
    type('xC\u0003\r\u001B[Bq');
    expect(pressed).toEqual(['x', 'c', 'ctrl-c', 'enter', 'down', 'q']);
    unmount();
  });

  test('says when it goes', () => {
    let gone = 0;
    const { unmount } = renderOne(<App drawn={{ said: ['a', 'b'] }} press={undefined} gone={() => (gone += 1)} />);
    unmount();
    expect(gone).toBe(1);
  });
});
