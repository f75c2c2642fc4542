import { chmodSync, lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { encode } from '../../../src/broker/pam/records.js';
import { Failed, type FailureKind } from '../../../src/core/failure.js';
import { seconds } from '../../../src/core/time.js';
import { approved, authOf, doorOn, phase, traces } from './kit.js';

describe('an ssh login', () => {
  test('checklist 1: is approved, let in, and only when its session is opened the grant is handed over', async () => {
    const door = await doorOn();
    expect(lstatSync(door.socket).mode & 0o777).toBe(0o600);
    expect(lstatSync(join(door.dir, 'pam')).mode & 0o777).toBe(0o711);
    expect(await approved(door)).toEqual({ kind: 'verdict', result: 'ok', user: 'alice' });
    expect(door.grants()).toEqual([]);
    expect(await phase(door, 'account')).toEqual({ kind: 'verdict', result: 'ok', user: 'alice' });
    expect(door.grants()).toEqual([]);
    const { text, audit, ...rest } = await phase(door, 'commit');
    expect(rest).toEqual({ kind: 'verdict', result: 'ok', user: 'alice' });
    expect(text).toBe('credmon: a credential for cilogon is stored; your jobs have fresh tokens');
    expect(audit).toMatch(
      /^credmon: result=accepted user="alice" uid="4242" sub="alice" iss="http:\S+" rhost="192.0.2.7" service="sshd" id="[0-9a-f]{16}"$/,
    );
    expect(door.grants()).toMatchObject([
      { kind: 'grant', user: 'alice', uid: 4242, provider: 'cilogon', sub: 'alice', iss: door.issuer.url },
    ]);
    expect(await phase(door, 'commit')).toEqual({ kind: 'verdict', result: 'ignore' });
    expect(door.grants()).toHaveLength(1);
    await door.door.close();
    expect(JSON.parse(readFileSync(join(door.dir, 'counters.json'), 'utf8'))).toEqual({
      asked: 1,
      approved: 1,
      committed: 1,
      denied: 0,
      expired: 0,
      gone: 0,
      decoys: 0,
      unavailable: 0,
      since: expect.any(Number),
    });
  });

  test('nobody is promised tokens that credmond has not taken over', async () => {
    const door = await doorOn({ taken: false });
    await approved(door);
    const { text } = await phase(door, 'commit');
    expect(text).toBe(
      'credmon: a credential for cilogon is stored; your jobs have fresh tokens once credmond has taken it',
    );
  });

  test('checklist 1: an approval waits for its session for 60 s, then it is forgotten and logged', async () => {
    const door = await doorOn();
    expect(await approved(door)).toMatchObject({ result: 'ok' });
    await door.clock.pass(59_000);
    expect(await phase(door, 'account')).toMatchObject({ result: 'ok' });
    expect(door.door.now.pending).toBe(1);
    await door.clock.pass(1001);
    expect(door.door.now.pending).toBe(0);
    expect(await phase(door, 'commit')).toEqual({ kind: 'verdict', result: 'ignore' });
    expect(await phase(door, 'account')).toMatchObject({ result: 'denied' });
    expect(door.grants()).toEqual([]);
    expect(door.log.aloud.join('\n')).toMatch(/credmon: result=abandoned user="alice" uid="4242" sub="alice"/);
    expect(door.door.now).toMatchObject({ places: 0, flows: 0, pending: 0 });
  });

  test('checklist 2: whoever approved it is looked at again when its session is opened', async () => {
    const door = await doorOn();
    await approved(door);
    door.settings.map = [{ claim: 'sub', match: 'alice', user: 'bob' }];
    const { result, text, audit } = await phase(door, 'commit');
    expect(result).toBe('denied');
    expect(text).toBe('No credential was stored for your jobs.\nYou approved as alice, who may not log in as alice.');
    expect(audit).toContain('result=denied user="alice" uid="4242" sub="alice"');
    expect(door.grants()).toEqual([]);
  });

  test('checklist 2: and so is the account', async () => {
    const door = await doorOn();
    await approved(door);
    door.accounts.splice(0, 1, { name: 'alice', uid: 5000, gid: 5000, shell: '/bin/bash' });
    expect(await phase(door, 'commit')).toMatchObject({ result: 'denied' });
    expect(door.grants()).toEqual([]);
  });

  test('checklist 2, CVE-2024-9313 (authd): the verdict is for the user who was asked for and nobody else', async () => {
    const door = await doorOn();
    const { result, text, audit } = await approved(door, 'bob', door.auth({ connection: 'c:1' }));
    expect(result).toBe('denied');
    expect(text).toBe('You approved as bob, who may not log in as alice.');
    expect(audit).toContain('sub="bob"');
    // What was approved for one user is not for another on the same connection.
    await approved(door);
    expect(await phase(door, 'account', { user: 'bob' })).toMatchObject({ result: 'denied' });
    expect(await phase(door, 'commit', { user: 'bob' })).toMatchObject({ result: 'ignore' });
    expect(await phase(door, 'account', { connection: 'c:1a2c' })).toMatchObject({ result: 'denied' });
    expect(await phase(door, 'account')).toMatchObject({ result: 'ok' });
  });

  test('checklist 3: an account belongs to the first (iss, sub) that got a session with it', async () => {
    const door = await doorOn({ pam: { map: [{ claim: 'sub', match: '.*', user: 'alice' }] } });
    await approved(door, 'carol');
    // Not before its session.
    expect(() => readFileSync(join(door.settings.identitiesDir, 'alice'))).toThrow('ENOENT');
    expect(await phase(door, 'commit')).toMatchObject({ result: 'ok' });
    const pin = join(door.settings.identitiesDir, 'alice');
    expect(JSON.parse(readFileSync(pin, 'utf8'))).toEqual({
      iss: door.issuer.url,
      sub: 'carol',
      since: expect.stringMatching(/^\d{4}-.*Z$/),
    });
    expect(lstatSync(pin).mode & 0o777).toBe(0o600);
    const { result, text, audit } = await approved(door, 'alice', door.auth({ connection: 'c:2' }));
    expect({ result, text }).toEqual({
      result: 'denied',
      text: 'You approved as alice, and this account belongs to another identity; ask the\nadministrator.',
    });
    expect(audit).toContain(`by ${pin}`);
    expect(await approved(door, 'carol')).toMatchObject({ result: 'ok' });
    door.settings.pin = false;
    expect(await approved(door, 'alice')).toMatchObject({ result: 'ok' });
  });

  test('checklist 3: of two who get the first session at once one has the account', async () => {
    const door = await doorOn({ pam: { map: [{ claim: 'sub', match: '.*', user: 'alice' }] } });
    await approved(door, 'carol');
    const other = door.auth({ connection: 'c:2', first: 'publickey other' });
    await approved(door, 'dave', other);
    const both = await Promise.all([phase(door, 'commit'), phase(door, 'commit', { connection: 'c:2' })]);
    expect(both.map(({ result }) => result).sort()).toEqual(['denied', 'ok']);
    expect(door.grants()).toHaveLength(1);
  });

  test.each([
    ['a symbolic link', (pin: string) => symlinkSync('/etc/hostname', pin)],
    ['rubbish', (pin: string) => writeFileSync(pin, 'rubbish')],
    ['one that others may write', (pin: string) => [writeFileSync(pin, '{}'), chmodSync(pin, 0o666)]],
    ['a folder', (pin: string) => mkdirSync(pin)],
  ])('3: nobody is let in by a pin that is %s', async (_, make) => {
    const door = await doorOn();
    mkdirSync(door.settings.identitiesDir, { mode: 0o700 });
    make(join(door.settings.identitiesDir, 'alice'));
    expect(await approved(door)).toMatchObject({ result: 'unavailable' });
    expect(await phase(door, 'account')).toMatchObject({ result: 'denied' });
  });

  test('checklist 3, 17: of two who were approved before either got a session, the second is not let in', async () => {
    const door = await doorOn({ pam: { map: [{ claim: 'sub', match: '.*', user: 'alice' }] } });
    for (const [login, rhost] of [
      ['alice', '192.0.2.7'],
      ['bob', '192.0.2.8'],
    ] as const) {
      const module = door.auth({ rhost, connection: `c:${rhost.at(-1)}` });
      expect(await approved(door, login, module)).toMatchObject({ result: 'ok' });
    }
    expect(await phase(door, 'account', { connection: 'c:7' })).toMatchObject({ result: 'ok' });
    expect(await phase(door, 'commit', { connection: 'c:7' })).toMatchObject({ result: 'ok' });
    expect(await phase(door, 'account', { connection: 'c:8' })).toMatchObject({
      result: 'denied',
      audit: expect.stringContaining('sub="bob"'),
    });
    expect(await phase(door, 'commit', { connection: 'c:8' })).toMatchObject({ result: 'ignore' });
    expect(door.grants()).toHaveLength(1);
  });

  test('checklist 3: a folder of pins that others may write to is not used', async () => {
    const door = await doorOn();
    mkdirSync(door.settings.identitiesDir);
    chmodSync(door.settings.identitiesDir, 0o777);
    await approved(door);
    expect(await phase(door, 'commit')).toMatchObject({ result: 'unavailable' });
    expect(door.grants()).toEqual([]);
  });

  test('checklist 6: what the policy asks for is asked, and a missing claim denies', async () => {
    const door = await doorOn({ pam: { policy: { groups: ['/cms/ops'] } } });
    expect(await approved(door, 'alice', door.auth({ connection: 'c:1' }))).toMatchObject({
      result: 'denied',
      text: expect.stringContaining('none of the groups'),
    });
    door.issuer.behaviour.claims = { alice: { groups: ['/cms/ops'] } };
    expect(await approved(door)).toMatchObject({ result: 'ok' });
    door.settings.policy = { acr: ['https://refeds.org/profile/mfa'] };
    expect(await phase(door, 'commit')).toMatchObject({ result: 'denied' });
    expect(door.grants()).toEqual([]);
  });

  test('checklist 7: wants a public key first, of everybody alike', async () => {
    const door = await doorOn();
    const told = [];
    for (const user of ['alice', 'mallory', 'root']) {
      const { audit, ...verdict } = await door.auth({ user, first: '' }).verdict();
      told.push(verdict);
    }
    expect(told[0]).toEqual({
      kind: 'verdict',
      result: 'denied',
      text: 'This machine wants your public key (or another login) first.',
    });
    expect(told[1]).toEqual(told[0]);
    expect(told[2]).toEqual(told[0]);
    expect(door.issuer.counts.deviceAuthorizations).toBe(0);
    // The same client comes again, with its key.
    await door.auth().asked();
  });

  test('checklist 7: without one the code has to be typed; with one it comes in a link and a picture', async () => {
    const door = await doorOn({ pam: { firstFactor: 'optional' } });
    const bare = await door.auth({ first: '' }).asked();
    expect(bare).toContain(`${door.issuer.verificationPage}\nand enter the code  ${door.codes[0]}`);
    expect(bare).not.toContain('user_code=');
    expect(bare).not.toMatch(/[▀▄█]/);
    const quick = await door.auth({ connection: 'c:2' }).asked();
    expect(quick).toContain(`user_code=${door.codes[1]}\nand check it shows the code  ${door.codes[1]}`);
    expect(quick).toMatch(/[▀▄█]{10}/);
    door.settings.qr = 'never';
    const calm = await door.auth({ connection: 'c:3', rhost: '192.0.2.8' }).asked();
    expect(calm).toContain('user_code=');
    expect(calm).not.toMatch(/[▀▄█]/);
    door.settings.qr = 'always';
    const always = await door.auth({ connection: 'c:4', rhost: '192.0.2.9', first: '' }).asked();
    expect(always).toMatch(/[▀▄█]{10}/);
  });

  test('checklist 8: says who logs in where and from where, and what for', async () => {
    const door = await doorOn();
    const text = await door.auth().asked();
    expect(text).toContain('\nssh login of alice at ap1.example.org from 192.0.2.7\n');
    expect(text).toContain('Your jobs can then read');
    expect(text).toContain('If you did not begin this login yourself, do not approve it.');
    expect(text).toMatch(/Approve it there, then press Enter: $/);
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(78);
  });

  test('checklist 13: nothing of a user or host acts on a terminal', async () => {
    const door = await doorOn();
    const text = await door.auth({ rhost: 'evil\u202E\u200Bhost\u00A0ä' }).asked();
    expect(text).toContain('from evilhost');
    expect(text).toMatch(/^[\n\x20-\x7E▀▄█]*$/);
  });

  test('checklist 14: neither codes nor tokens nor the client secret are in logs, files, verdicts or audit lines', async () => {
    const seen: string[] = [];
    const door = await doorOn({
      between: (issuer) => ({
        ...issuer,
        identity: issuer.identity,
        revoke: issuer.revoke,
        scopes: issuer.scopes,
        async device(parameters, stop) {
          const code = await issuer.device(parameters, stop);
          seen.push(code.deviceCode, ...Object.values(parameters).filter((value) => value.length > 30));
          return code;
        },
        async token(type, parameters, request) {
          const token = await issuer.token(type, parameters, request);
          seen.push(token.accessToken, token.refreshToken ?? '');
          return token;
        },
      }),
    });
    await approved(door);
    await phase(door, 'commit');
    const other = door.auth();
    await approved(door, 'bob', other);
    const late = door.auth({ connection: 'c:3' });
    await late.asked();
    await door.issuer.deny(door.codes.at(-1) ?? '');
    await door.clock.pass(6000);
    late.answer();
    await late.verdict();
    await door.door.close();
    expect(seen.length).toBeGreaterThanOrEqual(8);
    const text = traces(door);
    const told = [other, late].flatMap(({ told }) => told.filter(({ kind }) => kind === 'verdict'));
    for (const secret of [...seen, ...door.codes, 's3cret-for-tests-only']) {
      expect(secret).not.toBe('');
      expect(text).not.toContain(secret);
      expect(JSON.stringify(told)).not.toContain(secret);
    }
  });

  test('checklist 17: the account phase lets in what was approved and nothing else', async () => {
    const door = await doorOn();
    const { audit, ...denied } = await phase(door, 'account');
    expect(denied).toEqual({ kind: 'verdict', result: 'denied', text: 'This login was not approved.' });
    expect(audit).toContain('result=denied user="alice" uid="4242"');
    // The system's accounts come by other ways.
    expect(await phase(door, 'account', { user: 'daemon' })).toEqual({ kind: 'verdict', result: 'ignore' });
    expect(await phase(door, 'account', { user: 'mallory' })).toMatchObject({ result: 'denied' });
    // But not after a denial on the same connection.
    const daemon = door.auth({ user: 'daemon' });
    await daemon.asked();
    daemon.answer();
    await daemon.asked();
    daemon.answer();
    expect(await daemon.verdict()).toMatchObject({ result: 'denied' });
    expect(await phase(door, 'account', { user: 'daemon' })).toMatchObject({ result: 'denied' });
    // A denial takes back what was approved before.
    await approved(door);
    expect(await approved(door, 'bob')).toMatchObject({ result: 'denied' });
    expect(await phase(door, 'account')).toMatchObject({ result: 'denied' });
    expect(await phase(door, 'commit')).toMatchObject({ result: 'ignore' });
  });

  test('checklist 17: a denial is the last word on its connection, however often the client starts over', async () => {
    const door = await doorOn();
    const module = door.auth();
    await module.asked();
    await door.issuer.deny(door.codes[0] ?? '');
    await door.clock.pass(6000);
    module.answer();
    expect(await module.verdict()).toMatchObject({ result: 'denied' });
    for (let round = 0; round < 2; round++) {
      expect(await door.auth().verdict()).toEqual({ kind: 'verdict', result: 'denied' });
    }
    expect(door.codes).toHaveLength(1);
    expect(door.log.aloud.filter((line) => line.startsWith('credmon: result='))).toHaveLength(1);
    // Whoever comes anew is asked.
    await door.auth({ connection: 'c:2' }).asked();
    expect(door.codes).toHaveLength(2);
  });

  test('checklist 19: one line of audit for each login, whose values cannot pass for others', async () => {
    const door = await doorOn({
      between: (issuer) => ({
        ...issuer,
        async identity(token, request) {
          const identity = await issuer.identity(token, request);
          return { ...identity, claims: { ...identity.claims, acr: 'mfa" user="root' } };
        },
      }),
    });
    await approved(door, 'alice', door.auth({ rhost: 'a" user="root' }));
    const { audit = '' } = await phase(door, 'commit', { rhost: 'a" user="root' });
    expect(audit).toContain('rhost="a\\" user=\\"root"');
    expect(audit).toContain('acr="mfa\\" user=\\"root"');
    expect(door.log.aloud.filter((line) => line.startsWith('credmon: result='))).toEqual([audit]);
  });

  test('an approval without a refresh token is a login, and nothing is kept', async () => {
    const door = await doorOn({
      between: (issuer) => ({
        ...issuer,
        async token(type, parameters, request) {
          const token = await issuer.token(type, parameters, request);
          delete (token as { refreshToken?: string }).refreshToken;
          return token;
        },
      }),
    });
    expect(await approved(door)).toMatchObject({ result: 'ok', text: expect.stringContaining('gave nothing to keep') });
    const { text, audit } = await phase(door, 'commit');
    expect(text).toBeUndefined();
    expect(audit).toContain('result=accepted');
    expect(door.grants()).toEqual([]);
  });

  test.each<[FailureKind, string]>([
    ['transient', 'Try again later; if it lasts, tell the administrator of this machine.'],
    ['refused', 'Tell the administrator of this machine.'],
  ])(
    'what an administrator has to do (%s) is for the log, and people are told what they can do',
    async (kind, advice) => {
      const failure = { kind, what: 'the issuer is not there', hint: 'set cilogon_DEVICE_URL' };
      const door = await doorOn({
        between: (issuer) => ({ ...issuer, device: () => Promise.reject(new Failed(failure)) }),
      });
      const { text } = await door.auth().verdict();
      expect(text).toBe(`The issuer is not there.\n${advice}`);
      expect(door.log.aloud.join('\n')).toContain('set cilogon_DEVICE_URL');
    },
  );

  test('what the spool does not take is said', async () => {
    const full = { put: () => Promise.reject(new Error('no')) };
    const door = await doorOn({ spool: full });
    await approved(door);
    expect(await phase(door, 'commit')).toMatchObject({
      result: 'unavailable',
      audit: expect.stringMatching(
        /result=accepted user="alice" uid="4242" sub="alice" .* reason="no credential was stored/,
      ),
      text: expect.stringMatching(/^No credential was stored for your jobs\./),
    });
  });

  test('goes by the configuration as it is now', async () => {
    const door = await doorOn();
    door.settings.provider = 'another';
    expect(await door.auth().verdict()).toMatchObject({ result: 'unavailable' });
  });
});

describe('the issuer', () => {
  test('is down: unavailable within 20 s, also for accounts that are none', async () => {
    const door = await doorOn({
      between: (issuer, clock) => ({
        ...issuer,
        // As a host that swallows what is sent to it.
        scopes: (stop) => clock.sleep(seconds(3600), stop).then(() => []),
      }),
    });
    const real = door.auth();
    await door.clock.pass(20_000);
    const { audit, ...verdict } = await real.verdict();
    expect(verdict).toMatchObject({
      result: 'unavailable',
      text: expect.stringContaining('did not answer within 18 s'),
    });
    expect(audit).toContain('result=unavailable');
    // A client that starts over does not wait for it again.
    expect(await door.auth().verdict()).toEqual({ kind: 'verdict', result: 'unavailable' });
    const decoy = door.auth({ user: 'mallory' });
    await door.clock.pass(20_000);
    const { audit: _, ...same } = await decoy.verdict();
    expect(same).toEqual(verdict);
  });

  test('checklist 9: slow_down makes the pauses longer for good', async () => {
    const polls: number[] = [];
    const door = await doorOn({
      between: (issuer, clock) => ({
        ...issuer,
        // It tells of a pace that is too fast for itself.
        device: async (parameters, stop) => ({ ...(await issuer.device(parameters, stop)), interval: 2 }),
        token(type, parameters, request) {
          polls.push(clock.steady());
          return issuer.token(type, parameters, request);
        },
      }),
      issuer: { interval: 7 },
    });
    await door.auth().asked();
    await door.clock.pass(60_000);
    const pauses = polls.map((at, i) => at - (polls[i - 1] ?? 0));
    expect(pauses).toEqual([2000, 2000, 7000, 12_000, 17_000]);
    expect(door.issuer.counts.slowDowns).toBe(4);
  });

  test('checklist 9: a person who denies it is told so', async () => {
    const door = await doorOn();
    const module = door.auth();
    await module.asked();
    await door.issuer.deny(door.codes[0] ?? '');
    await door.clock.pass(6000);
    module.answer();
    expect(await module.verdict()).toMatchObject({
      result: 'denied',
      text: 'This login was denied where it was to be approved.',
    });
    expect(door.door.counters.get('denied')).toBe(1);
  });

  test('checklist 9: a code that runs out', async () => {
    const door = await doorOn({ issuer: { deviceCodeTtl: 60 } });
    const module = door.auth();
    await module.asked();
    await door.clock.pass(61_000);
    module.answer();
    expect(await module.verdict()).toMatchObject({
      result: 'denied',
      text: 'Nobody approved this login in time.\nLog in again for a new code.',
    });
    expect(door.door.counters.get('expired')).toBe(1);
  });
});

describe('a module', () => {
  test.each([
    ['rubbish', Uint8Array.of(9, 9, 9, 9)],
    ['an answer that nobody asked for', encode({ kind: 'answer', empty: true })],
  ])('that sends %s is hung up on', async (_, bytes) => {
    const door = await doorOn();
    const module = door.module();
    module.send(bytes);
    await module.hungUp();
    const other = door.auth();
    await other.asked();
    other.send(bytes.length === 4 ? bytes : encode(authOf()));
    await other.hungUp();
    await door.clock.pass(2000);
    expect(door.door.now).toMatchObject({ places: 0, flows: 0 });
  });

  test('that says nothing is hung up on', async () => {
    const door = await doorOn();
    const module = door.module();
    await door.clock.rest();
    await door.clock.pass(5000);
    await module.hungUp();
  });

  test('is told that the broker stops, whatever it waits for', async () => {
    const door = await doorOn();
    const [prompt, live] = [door.auth(), door.auth({ face: 'live', connection: 'c:2', rhost: '192.0.2.9' })];
    await prompt.asked();
    expect((await live.next()).kind).toBe('show');
    await approved(door, 'bob', door.auth({ user: 'bob', connection: 'c:3' }));
    const begun = performance.now();
    await door.door.close();
    expect(performance.now() - begun).toBeLessThan(2000);
    for (const module of [prompt, live])
      expect(await module.verdict()).toMatchObject({ result: 'unavailable', text: expect.stringContaining('stopped') });
    expect(door.door.now).toMatchObject({ flows: 0, pending: 0 });
  });
});
