import { describe, expect, test } from 'vitest';
import { Failed, Unsent } from '../../src/core/failure.js';
import { named, networkFailed, translate } from '../../src/providers/errors.js';

const coded = (code: string, more: object = {}) => Object.assign(new Error('secret inner text'), { code }, more);
const url = 'https://user:pw@issuer.example/token?refresh_token=abc';

describe('an exchange that failed', () => {
  test.each([
    ['ECONNREFUSED', 'transient', 'the connection was refused'],
    ['ECONNRESET', 'transient', 'the connection was reset'],
    ['ENOTFOUND', 'transient', 'its name does not resolve'],
    ['EAI_AGAIN', 'transient', 'just now'],
    ['UND_ERR_CONNECT_TIMEOUT', 'transient', 'did not answer in time'],
    ['UND_ERR_SOCKET', 'transient', 'broke off'],
    ['ESOMETHING', 'transient', 'ESOMETHING'],
    ['UND_ERR_RES_EXCEEDED_MAX_SIZE', 'protocol', 'too large'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'protocol', 'certificate'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'protocol', 'certificate'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'protocol', 'certificate'],
    ['CERT_HAS_EXPIRED', 'protocol', 'certificate'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'protocol', 'certificate'],
  ])('%s is %s', (code, kind, words) => {
    for (const error of [coded(code), new Error('x', { cause: coded(code) }), new AggregateError([coded(code)])]) {
      const failure = networkFailed(url, error).failure;
      expect(failure.kind).toBe(kind);
      expect(failure.what).toContain(words);
      expect(failure.what).toContain('https://issuer.example');
      expect(JSON.stringify(failure)).not.toMatch(/pw|abc|secret/);
    }
  });

  test.each([
    ['ECONNREFUSED', true],
    ['UND_ERR_CONNECT_TIMEOUT', true],
    ['CERT_HAS_EXPIRED', true],
    ['ECONNRESET', false],
    ['UND_ERR_HEADERS_TIMEOUT', false],
    ['UND_ERR_SOCKET', false],
    ['ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC', false],
  ])('%s: whether nothing can have been heard: %s', (code, unsent) => {
    const failed = networkFailed(url, new Error('x', { cause: coded(code) }));
    expect(failed instanceof Unsent).toBe(unsent);
    expect(named(failed, 'dune') instanceof Unsent).toBe(unsent);
  });

  test('a limit, and no reason at all', () => {
    expect(networkFailed(url, new DOMException('x', 'TimeoutError')).failure.what).toContain('did not answer in time');
    expect(networkFailed(url, new Error('x')).failure.what).toContain('no reason given');
    for (const odd of [undefined, null, 'text', 5])
      expect(networkFailed('nonsense', odd).failure.kind).toBe('transient');
  });
});

describe('what is thrown', () => {
  test('a failure of ours is passed on, also from within', () => {
    const failed = new Failed({ kind: 'storage', what: 'disk' });
    expect(translate(failed, url)).toBe(failed);
    expect(translate(new Error('wrapped', { cause: failed }), url)).toBe(failed);
  });

  test.each([new TypeError('x'), new Error(), undefined, null, 'text', 5, {}])(
    '%o becomes one, whatever it is',
    (thrown) => {
      const failed = translate(thrown, url);
      expect(failed).toBeInstanceOf(Failed);
      expect(failed.failure.kind).toBe('protocol');
      expect(failed.cause).toBe(thrown);
    },
  );
});
