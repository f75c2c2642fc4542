import { expect, test } from 'vitest';
import { told } from '../../src/daemon/child.js';

test.each([
  ['credmon-broker: error: the spool is full', ['error', 'the spool is full']],
  ['credmon-broker: warning: alice has asked 30 times', ['warn', 'alice has asked 30 times']],
  ['credmon-broker: 3 logins are under way', ['info', '3 logins are under way']],
  ['credmon-broker: no error: all is well', ['info', 'no error: all is well']],
  ['Segmentation fault', ['info', 'Segmentation fault']],
  ['', ['info', '']],
])('the broker says %j', (line, means) => {
  expect(told(line)).toEqual(means);
});
