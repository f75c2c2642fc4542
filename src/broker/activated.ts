import type { Listening } from './listen.js';

/** The first descriptor that systemd passes on (sd_listen_fds(3)). */
const firstFd = 3;

/** Sockets that systemd made, by the names that their units give them (FileDescriptorName=). */
export type Activated = ReadonlyMap<string, Extract<Listening, { fd: number }>>;

/**
 * What systemd's socket activation has passed on, if it is for this process. The variables are taken away: they are nobody's
 * business whom we start.
 */
export function activatedSockets(env: NodeJS.ProcessEnv, pid: number): Activated {
  const { LISTEN_PID: whose, LISTEN_FDS: count = '0', LISTEN_FDNAMES: names = '' } = env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete env[name];
  if (whose !== String(pid) || !/^\d{1,3}$/.test(count)) return new Map();
  const known = names.split(':');
  return new Map(Array.from({ length: Number(count) }, (_, i) => [known[i] ?? '', { fd: firstFd + i }]));
}
