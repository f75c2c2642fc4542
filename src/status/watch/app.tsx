import { useInput } from 'ink';
import { useEffect } from 'react';
import { Rows } from '../../login/faces/ink/app.js';
import { keysIn } from '../../login/faces/ink/keys.js';

export interface AppProps {
  readonly rows: readonly string[];
  /** Absent where there is no keyboard: Ink throws when it cannot switch to raw mode. */
  readonly press: ((key: string) => void) | undefined;
  /** Called as it goes, also because the process dies from a signal. */
  readonly gone: () => void;
}

/** Pure but for the keys: it draws what it is given. */
export function App({ rows, press, gone }: AppProps) {
  useEffect(() => gone, [gone]);
  return (
    <>
      {press && <Keys press={press} />}
      <Rows rows={rows} />
    </>
  );
}

function Keys({ press }: { readonly press: (key: string) => void }) {
  useInput((input, key) => keysIn(input, key).forEach(press));
  return null;
}
