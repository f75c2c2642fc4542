import { Box, Text, useInput } from 'ink';
import { useEffect } from 'react';
import type { Frame } from './frame.js';
import { keysIn } from './keys.js';
import type { Rows as Lines } from './squeeze.js';

/** A key by its name (keys.ts), in lower case. */
type Press = (key: string) => void;

export interface AppProps {
  /** What to draw: a frame, or for a screen reader all lines that have been said. */
  readonly drawn: Frame | { readonly said: Lines };
  /** Absent where there is no keyboard: Ink throws when it cannot switch to raw mode. */
  readonly press: Press | undefined;
  /** Called as the app goes, by `close` or because the process dies from a signal. */
  readonly gone: () => void;
}

/** Pure but for the keys: it draws what it is given. */
export function App({ drawn, press, gone }: AppProps) {
  useEffect(() => gone, [gone]);
  return (
    <>
      {press && <Keys press={press} />}
      {'said' in drawn ? <Rows rows={drawn.said} /> : <Drawing {...drawn} />}
    </>
  );
}

function Keys({ press }: { readonly press: Press }) {
  useInput((input, key) => {
    for (const one of keysIn(input, key)) press(one.toLowerCase());
  });
  return null;
}

function Drawing({ top, left, leftWidth, code, bottom }: Frame) {
  return (
    <Box flexDirection="column" alignItems="flex-start">
      <Rows rows={top} />
      {code.length > 0 && (
        <Box>
          <Box width={leftWidth} flexShrink={0}>
            <Rows rows={left} />
          </Box>
          <Rows rows={code} />
        </Box>
      )}
      <Rows rows={bottom} />
    </Box>
  );
}

/** One line each: whatever a stranger's text may measure, it never becomes two. */
export function Rows({ rows }: { readonly rows: Lines }) {
  return (
    <Box flexDirection="column" flexShrink={0}>
      {rows.map((row, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: rows have no other identity than their place.
        <Text key={i} wrap="truncate-end">
          {row === '' ? ' ' : row}
        </Text>
      ))}
    </Box>
  );
}
