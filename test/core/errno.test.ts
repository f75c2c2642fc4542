import { expect, test } from 'vitest';
import { systemCode } from '../../src/core/errno.js';

test('the system’s codes by their names, also where Node has none for them', () => {
  expect(systemCode({ code: 'ENOSPC', errno: -28 })).toBe('ENOSPC');
  // As Node 20 to 24 throw them on Linux.
  expect(systemCode({ code: 'Unknown system error -122', errno: -122 })).toBe('EDQUOT');
  expect(systemCode({ code: 'Unknown system error -116', errno: -116 })).toBe('ESTALE');
  expect(systemCode({ code: 'UNKNOWN', errno: -122 })).toBe('EDQUOT');
  expect(systemCode({ code: 'Unknown system error -74', errno: -74 })).toBe('E74');
});

test('what is none of the system’s has none', () => {
  for (const code of ['ERR_INVALID_ARG_TYPE', 'UND_ERR_SOCKET', 'Unknown system error', 'UNKNOWN', 28, undefined])
    expect(systemCode({ code, errno: undefined })).toBeUndefined();
});
