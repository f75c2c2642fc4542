import { describe, expect, test } from 'vitest';
import { isSafeUrl } from '../../src/core/url.js';

describe('safe', () => {
  test.each([
    'https://issuer.example',
    'HTTPS://ISSUER.EXAMPLE/x?y#z',
    'https://issuer.example:8443/',
    'https://xn--mnchen-3ya.example/',
    'http://localhost',
    'HTTP://LOCALHOST:3000/x',
    'http://127.0.0.1:8080/',
    'http://127.9.9.9/',
    'http://[::1]:8080/',
    'http://[0:0:0:0:0:0:0:1]/',
    // What a browser makes of it is 127.0.0.1 too.
    'http://2130706433/',
  ])('%s', (url) => {
    expect(isSafeUrl(url)).toBe(true);
  });
});

describe('not safe', () => {
  test.each([
    '',
    'issuer.example',
    '//issuer.example',
    'https://',
    'http://issuer.example',
    'http://localhost.evil.com',
    'http://localhost.',
    'http://127.0.0.1.nip.io',
    'http://127.0.0.1.evil.com',
    'http://evil.com/127.0.0.1',
    'http://evil.com?localhost',
    'http://evil.com#@localhost',
    'http://128.0.0.1',
    'http://10.0.0.1',
    'http://0.0.0.0',
    'http://[::]',
    'http://[::2]',
    'http://[::ffff:10.0.0.1]',
    'http://localhost@evil.com',
    'http://127.0.0.1:80@evil.com',
    'http://user@localhost',
    'https://user@issuer.example',
    'https://user:secret@issuer.example',
    'https://:secret@issuer.example',
    'ftp://localhost',
    'file:///etc/passwd',
    'javascript:alert(1)',
    'data:text/html,x',
    'ws://localhost',
  ])('%s', (url) => {
    expect(isSafeUrl(url)).toBe(false);
  });
});
