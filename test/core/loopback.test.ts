import { describe, expect, test } from 'vitest';
import { isLoopbackHost, parseLoopback } from '../../src/core/loopback.js';

describe('where to listen', () => {
  test.each([
    ['127.0.0.1:9815', '127.0.0.1', 9815],
    ['127.9.255.1:1', '127.9.255.1', 1],
    ['[::1]:65535', '::1', 65_535],
    ['localhost:9815', '127.0.0.1', 9815],
  ])('%s', (text, host, port) => {
    expect(parseLoopback(text)).toEqual({ host, port });
  });

  test.each([
    '0.0.0.0:9815',
    '[::]:9815',
    '*:9815',
    ':9815',
    '9815',
    '127.0.0.1',
    '127.0.0.1:0',
    '127.0.0.1:65536',
    '127.0.0.1:09815',
    '127.0.0.1:9815 ',
    '127.0.0.256:9815',
    '127.0.0.01:9815',
    '127.1:9815',
    '128.0.0.1:9815',
    '127.0.0.1.example.org:9815',
    'localhost.example.org:9815',
    '::1:9815',
    '[::ffff:127.0.0.1]:9815',
    '192.168.0.1:9815',
    'http://127.0.0.1:9815',
  ])('not %s', (text) => {
    expect(parseLoopback(text)).toBeUndefined();
  });
});

test.each([
  ['127.0.0.1', true],
  ['127.0.0.1:9815', true],
  ['LOCALHOST:80', true],
  ['[::1]', true],
  ['[::1]:9815', true],
  ['', false],
  ['rebound.example.org', false],
  ['rebound.example.org:9815', false],
  ['127.0.0.1.example.org', false],
  ['localhost.example.org', false],
  ['127.0.0.1@example.org', false],
  ['example.org#127.0.0.1', false],
  ['127.0.0.1:9815:1', false],
])('a Host of %s is this machine: %s', (host, is) => {
  expect(isLoopbackHost(host)).toBe(is);
});
