/** Where to listen for what runs on this machine. */
export interface Loopback {
  /** An IP address of this machine itself. */
  readonly host: string;
  readonly port: number;
}

const address = /^127(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$/;

/** `127.0.0.1:9815`, `[::1]:9815` or `localhost:9815`, which is 127.0.0.1; undefined for anything else. */
export function parseLoopback(text: string): Loopback | undefined {
  const [, host = '', digits = ''] = /^(\[::1\]|[^:]+):([1-9]\d{0,4})$/.exec(text) ?? [];
  const port = Number(digits);
  if (!namesLoopback(host) || port > 65_535) return undefined;
  // By name it might be somebody else's, whatever /etc/hosts says.
  return { host: host === 'localhost' ? '127.0.0.1' : host.replace(/[[\]]/g, ''), port };
}

/**
 * Whether a request's Host header (RFC 9110 §7.2) speaks of this machine: a web page that had its own name resolve to
 * 127.0.0.1 would have its own name there. The port may be another where somebody forwards one.
 */
export const isLoopbackHost = (host: string): boolean => namesLoopback(host.replace(/:\d{1,5}$/, '').toLowerCase());

const namesLoopback = (host: string): boolean => host === 'localhost' || host === '[::1]' || address.test(host);
