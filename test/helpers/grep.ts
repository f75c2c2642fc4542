import { listenIn } from './overheard.js';

/** Around all suites of a run: nothing that they made may hold a token, a code or a secret that was in play. */
export default function grep(): () => void {
  const keep = process.env.CREDMON_TEST_KEEP === 'yes';
  const end = listenIn();
  return () => {
    const { secrets, pieces, characters, found } = end(keep);
    const size = `${pieces} logs, files and outputs (${(characters / 1e6).toFixed(1)} MB)`;
    if (found.length > 0) throw new Error(`secrets in what the suites made:\n${found.join('\n')}`);
    process.stdout.write(`none of ${secrets} tokens, codes and secrets is in any of ${size}\n`);
  };
}
