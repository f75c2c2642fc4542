import { spawn } from 'node:child_process';

type Env = Readonly<Record<string, string | undefined>>;

/** Whether a browser opened here would be seen by the person: there is a display, and it is not at the far end of ssh. */
export function canOpen(env: Env): boolean {
  const display = Boolean(env.WAYLAND_DISPLAY || env.DISPLAY);
  return display && !env.SSH_CONNECTION && !env.SSH_TTY;
}

/** Opens a link; whether that works is for the person to see. */
export function openInBrowser(url: string): void {
  const child = spawn('xdg-open', [url], { stdio: 'ignore', detached: true });
  child.on('error', () => {});
  child.unref();
}
