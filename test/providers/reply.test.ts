import { describe, expect, test } from 'vitest';
import { Reply } from '../../src/providers/reply.js';

const headers = { 'content-type': 'application/json', 'set-cookie': ['a', 'b'], nothing: undefined };

describe('a reply', () => {
  test('is a Response for whoever asks as openid-client does, and answers as one', async () => {
    const text = '{"a":1}';
    const real = new Response(text, { status: 201, headers: { 'content-type': 'application/json' } });
    const reply = new Reply(201, { 'content-type': 'application/json' }, text);
    const tagOf = (one: object) => Object.getPrototypeOf(one)[Symbol.toStringTag];
    expect(tagOf(reply)).toBe(tagOf(real));
    const told = async (one: Response | Reply) => [
      one.status,
      one.bodyUsed,
      one.headers.get('Content-Type'),
      one.headers.get('x'),
      await one.clone().json(),
      await one.text(),
      one.bodyUsed,
      await one.json().catch((thrown: unknown) => (thrown as Error).name),
      await one.text().catch((thrown: unknown) => (thrown as Error).name),
    ];
    expect(await told(reply)).toEqual(await told(real));
  });

  test('without JSON in it says so when it is asked for that, and nothing before', async () => {
    const reply = new Reply(200, {}, '<html>');
    expect(reply.peek()).toBeUndefined();
    await expect(reply.json()).rejects.toThrow(SyntaxError);
    expect(await new Reply(200, {}, '').json().catch((thrown: unknown) => (thrown as Error).name)).toBe('SyntaxError');
  });

  test('has another body where it is given one, which it has as text as well', async () => {
    const reply = new Reply(200, headers, '{"a":1}').with({ a: 2 });
    expect([reply.status, reply.headers.get('content-type'), reply.peek()]).toEqual([
      200,
      'application/json',
      { a: 2 },
    ]);
    expect(await reply.clone().text()).toBe('{"a":2}');
    expect(await reply.json()).toEqual({ a: 2 });
  });

  test('has headers by any spelling, several joined, until they are taken out', () => {
    const { headers: own } = new Reply(200, headers, '');
    expect([own.get('Set-Cookie'), own.get('nothing'), own.get('constructor')]).toEqual(['a, b', null, null]);
    expect(own.all()).toEqual({ 'content-type': 'application/json', 'set-cookie': 'a, b' });
    own.delete('SET-COOKIE');
    expect(own.get('set-cookie')).toBeNull();
    expect(headers['set-cookie']).toEqual(['a', 'b']);
  });
});
