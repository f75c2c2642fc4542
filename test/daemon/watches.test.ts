import { expect, test } from 'vitest';
import { seconds } from '../../src/core/time.js';
import { tellOfWatches } from '../../src/daemon/watches.js';

test('what cannot be watched is said once, with what helps, and once when it is over', () => {
  const said: string[] = [];
  const say = (text: string) => void said.push(text);
  const watches: { refused: string | undefined }[] = [{ refused: undefined }, { refused: undefined }];
  const tell = tellOfWatches(watches, {
    log: { error: say, warn: say, info: say, debug: say },
    sweep: () => seconds(60),
  });
  const after = (...refused: (string | undefined)[]): string[] => {
    for (const [n, watch] of watches.entries()) watch.refused = refused[n];
    said.length = 0;
    tell();
    tell();
    return said;
  };
  expect(after()).toEqual([]);
  expect(after(undefined, 'ENOSPC')).toEqual([
    'not every folder can be watched (ENOSPC): changes there are seen with a SIGHUP, or within 60 s; raise fs.inotify.max_user_watches',
  ]);
  expect(after('ENOSPC', 'ENOSPC')).toEqual([]);
  expect(after('EMFILE')).toEqual([expect.stringMatching(/EMFILE.*fs\.inotify\.max_user_instances/)]);
  expect(after()).toEqual(['every folder can be watched again']);
  expect(after()).toEqual([]);
});
