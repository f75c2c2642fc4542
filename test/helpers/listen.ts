import { once } from 'node:events';
import type { AddressInfo, Server } from 'node:net';

/** Ports of those a system gives out that `fetch` will not speak to: https://fetch.spec.whatwg.org/#port-blocking. */
const blocked = new Set([
  ...[
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
  ],
]);

/** The port it then listens on; 0 takes a free one. */
export async function listen(server: Server, port: number, address: string): Promise<number> {
  for (;;) {
    server.listen(port, address);
    await once(server, 'listening');
    const taken = (server.address() as AddressInfo).port;
    if (port !== 0 || !blocked.has(taken)) return taken;
    await new Promise((closed) => server.close(closed));
  }
}
