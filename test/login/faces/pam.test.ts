import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { pamFace } from '../../../src/login/faces/pam.js';
import { code } from './states.js';

const whom = { user: 'alice', host: 'ap1.example.org', source: '192.0.2.7', others: 0 };
const linkComplete = 'https://cilogon.org/device/?user_code=ABC-DEF-GHI';
const state = {
  ...code,
  link: 'https://cilogon.org/device/',
  linkComplete,
  code: 'ABC-DEF-GHI',
  ask: { ...code.ask, scopes: ['openid', 'offline_access', 'storage.read:/home', 'storage.create:/home/out'] },
};
const quick = { quick: true, picture: 'prompt' } as const;

describe('what sshd asks', () => {
  test('is on 24 lines with the picture, and whole without it', () => {
    const lines = pamFace.prompt(state, whom, quick, false).split('\n');
    expect(lines.filter((line) => /[█▀▄]{3}/.test(line))).toHaveLength(17);
    // The first one is empty: what a client puts before it may scroll away.
    expect(lines.slice(1)).toHaveLength(24);
    expect(lines.slice(18)).toMatchInlineSnapshot(`
      [
        "ssh login of alice at ap1.example.org from 192.0.2.7",
        "Your jobs can then read files below /home; create files below /home/out; ...",
        "Open this link in a browser on any device:",
        "https://cilogon.org/device/?user_code=ABC-DEF-GHI",
        "and check it shows the code  ABC-DEF-GHI",
        "If you did not begin this login yourself, do not approve it.",
        "Approve it there, then press Enter: ",
      ]
    `);
    expect(pamFace.prompt(state, whom, { quick: false, picture: 'never' }, true)).toMatchInlineSnapshot(`
      "
      ssh login of alice at ap1.example.org from 192.0.2.7
      Your jobs can then read files below /home; create files below /home/out; know
      who you are; stay logged in for later refreshes.
      Open this link in a browser on any device:
      https://cilogon.org/device/
      and enter the code  ABC-DEF-GHI
      If you did not begin this login yourself, do not approve it.
      Approve it there, then press Enter (Enter alone goes on without): "
    `);
  });

  test('says who else waits for the same approval, in as many lines', () => {
    for (const [others, told] of [
      [1, 'Another ssh login from there waits for this too. Not yours? Do not approve.'],
      [19, '19 more ssh logins from there wait for this too. Not yours? Do not approve.'],
    ] as const) {
      const lines = pamFace.prompt(state, { ...whom, others }, quick, false).split('\n');
      expect(lines.slice(1)).toHaveLength(24);
      expect(lines.at(-2)).toBe(told);
    }
  });

  test('has the code whole on 40 columns', () => {
    for (const manner of [quick, { quick: false, picture: 'never' } as const]) {
      const line = pamFace.prompt(state, whom, manner, false).match(/^.*code {2}.*$/m)?.[0];
      expect(line?.length).toBeLessThanOrEqual(40);
    }
  });
});

test('the page on ssh logins shows what people see', () => {
  const page = readFileSync(new URL('../../../docs/ssh.md', import.meta.url), 'utf8');
  const seen = { ...state, ask: { ...state.ask, scopes: ['openid', 'offline_access', 'storage.read:/'] } };
  const [whole, typed] = [quick, { quick: false, picture: 'prompt' } as const].map((manner) =>
    pamFace.prompt(seen, whom, manner, false),
  );
  const picture = whole?.split('\n').filter((line) => /[█▀▄]{3}/.test(line)).length ?? 0;
  // Blanks at the ends of lines are no good in a page.
  expect(page).toContain(
    whole
      ?.split('\n')
      .slice(1 + picture)
      .join('\n')
      .trimEnd(),
  );
  expect(page).toContain(typed?.match(/^Open this link[\s\S]*code .*$/m)?.[0]);
  expect(page).toContain(pamFace.notYet(seen, quick).trim().split('\n').at(0));
});
