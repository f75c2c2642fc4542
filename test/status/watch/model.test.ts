import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Choice, firstChoice, follow, press } from '../../../src/status/watch/model.js';
import { Rows } from '../../../src/status/watch/row.js';
import { health, start } from './kit.js';

const maker = new Rows(start);
const rows = Array.from({ length: 100 }, (_, i) => maker.make(`u${i}`, health(`u${i}`)));
const extent = { rows, height: 10 };

/** All of these keys; it is not left. */
const pressed = (keys: readonly string[], from: Choice = firstChoice, at = extent): Choice =>
  keys.reduce((choice, key) => {
    const next = press(choice, key, at);
    if (next === undefined) throw new Error(`${key} leaves`);
    return next;
  }, from);

const where = ({ at, top }: Choice) => [at, top];

describe('the keys', () => {
  test.each([
    [['down'], [1, 0]],
    [['up'], [0, 0]],
    [Array(9).fill('down'), [9, 0]],
    [Array(10).fill('down'), [10, 1]],
    [
      [...Array(10).fill('down'), 'up'],
      [9, 1],
    ],
    [['pagedown'], [9, 0]],
    [
      ['pagedown', ' '],
      [18, 9],
    ],
    [
      ['pagedown', ' ', 'pageup'],
      [9, 9],
    ],
    [['end'], [99, 90]],
    [
      ['end', 'down'],
      [99, 90],
    ],
    [
      ['G', 'k'],
      [98, 90],
    ],
    [
      ['end', 'home'],
      [0, 0],
    ],
  ])('%j', (keys, place) => {
    expect(where(pressed(keys))).toEqual(place);
  });

  test('a text to filter by is typed, taken back, kept and ended', () => {
    const typing = pressed(['down', '/', 'q', 'j', '/', ' ', 't']);
    expect(typing).toMatchObject({ typing: true, at: 0, wish: { text: 'qj/ t' } });
    expect(pressed(['backspace'], typing).wish.text).toBe('qj/ ');
    expect(pressed(['enter'], typing)).toMatchObject({ typing: false, wish: { text: 'qj/ t' } });
    expect(pressed(['escape'], typing)).toMatchObject({ typing: false, wish: { text: '' } });
    expect(pressed(['enter', 'escape'], typing).wish.text).toBe('');
    expect(pressed(['ctrl-u', 'backspace'], typing).typing).toBe(false);
    expect(pressed(['down'], typing)).toMatchObject({ typing: false, at: 1, wish: { text: 'qj/ t' } });
    expect(pressed(Array(100).fill('x'), typing).wish.text).toHaveLength(60);
  });

  test('what is wished for', () => {
    expect(pressed(['t']).wish.trouble).toBe(true);
    expect(pressed(['t', 't']).wish.trouble).toBe(false);
    expect(['s', 'ss', 'sss', 'ssss', 'sssss', 'S'].map((keys) => pressed([...keys]).wish.order)).toEqual([
      'user',
      'provider',
      'ends',
      'refresh',
      'trouble',
      'refresh',
    ]);
    // The list is another one: from its top.
    expect(where(pressed(['end', 's']))).toEqual([0, 0]);
  });

  test('help and details come and go', () => {
    expect(pressed(['?']).page).toBe('help');
    for (const key of ['?', 'escape', 'q', 'enter']) expect(pressed(['?', key]).page).toBe('list');
    expect(pressed(['down', 'enter'])).toMatchObject({ page: 'details', at: 1 });
    expect(pressed(['down', 'enter', 'down'])).toMatchObject({ page: 'details', at: 2 });
    expect(pressed(['enter'], firstChoice, { rows: [], height: 10 }).page).toBe('list');
  });

  test.each([[['q']], [['ctrl-c']], [['/', 'ctrl-c']], [['?', 'ctrl-c']]])('%j leaves', (keys) => {
    const last = keys.at(-1) as string;
    expect(press(pressed(keys.slice(0, -1)), last, extent)).toBeUndefined();
  });

  test('whatever is pressed on whatever list, a row that is there is in sight', () => {
    const keys = ['up', 'down', 'pageup', 'pagedown', 'home', 'end', 's', 't', '/', 'x', 'enter', 'escape', 'tab', '?'];
    const sizes = fc.record({ count: fc.nat(30), height: fc.nat(12) });
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom(...keys), sizes)), (steps) => {
        let choice = firstChoice;
        for (const [key, { count, height }] of steps) {
          const at = { rows: rows.slice(0, count), height };
          choice = follow(press(choice, key, at) ?? choice, at);
          expect(choice.at).toBeGreaterThanOrEqual(0);
          if (count > 0) expect(choice.at).toBeLessThan(count);
          if (height > 0) expect([choice.top <= choice.at, choice.at < choice.top + height]).toEqual([true, true]);
          if (height > 0) expect(choice.top).toBeLessThanOrEqual(Math.max(0, count - height));
          expect(choice.row).toBe(choice.at === 0 ? undefined : at.rows[choice.at]);
          expect(follow(choice, at)).toBe(choice);
        }
      }),
    );
  });
});

describe('a list that changes', () => {
  test('a row that was gone to stays under the keys, and where it was on the screen', () => {
    const choice = pressed(Array(15).fill('down'));
    expect(where(choice)).toEqual([15, 6]);
    const more = [...Array.from({ length: 5 }, (_, i) => maker.make(`new${i}`, health('x'))), ...rows];
    expect(follow(choice, { rows: more, height: 10 })).toMatchObject({ at: 20, top: 11, row: rows[15] });
    expect(follow(choice, { rows: rows.slice(3), height: 10 })).toMatchObject({ at: 12, top: 3, row: rows[15] });
  });

  test('whoever has gone nowhere stays at the top', () => {
    const more = [maker.make('worse', health('worse')), ...rows];
    expect(follow(firstChoice, { rows: more, height: 10 })).toMatchObject({ at: 0, top: 0, row: undefined });
  });

  test('where the row is gone, the one in its place', () => {
    const choice = pressed(['end']);
    expect(follow(choice, { rows: rows.slice(0, 50), height: 10 })).toMatchObject({ at: 49, top: 40, row: rows[49] });
    expect(follow(choice, { rows: [], height: 10 })).toMatchObject({ at: 0, top: 0 });
  });
});
