import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const openssl = '/usr/bin/openssl';

/** PEM, each. */
export interface Certificates {
  /** The authority, which is in no system's store. */
  readonly ca: string;
  /** A server's, signed by it. */
  readonly cert: string;
  readonly key: string;
}

/** Whether there can be certificates here; tests that need them are skipped where not. */
export const canCertify = existsSync(openssl);

const common = ['DNS:localhost', 'IP:127.0.0.1'];

/** A new authority and a certificate of it for `names`, as in `DNS:localhost`, good for a day. */
export function makeCertificates(names: readonly string[] = common): Certificates {
  const directory = mkdtempSync(join(tmpdir(), 'certificates-'));
  const file = (name: string) => join(directory, name);
  const make = (subject: string, ...more: string[]) => {
    const how = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1'];
    execFileSync(openssl, ['req', '-x509', ...how, '-subj', subject, ...more], { stdio: 'ignore' });
  };
  try {
    make('/CN=test authority', '-keyout', file('ca.key'), '-out', file('ca.pem'));
    const signer = ['-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-addext', 'basicConstraints=critical,CA:FALSE'];
    const alternatives = ['-addext', `subjectAltName=${names.join(',')}`];
    make('/CN=test server', ...signer, ...alternatives, '-keyout', file('server.key'), '-out', file('server.pem'));
    const [ca, cert, key] = ['ca.pem', 'server.pem', 'server.key'].map((name) => readFileSync(file(name), 'utf8'));
    return { ca: ca ?? '', cert: cert ?? '', key: key ?? '' };
  } finally {
    rmSync(directory, { recursive: true });
  }
}
