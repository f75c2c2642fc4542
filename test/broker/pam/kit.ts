import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Account } from '../../../src/broker/accounts.js';
import type { Offers } from '../../../src/broker/desk.js';
import { type Door, openDoor } from '../../../src/broker/pam/door.js';
import type { PlaceLimits } from '../../../src/broker/pam/places.js';
import {
  type Auth,
  type BrokerRecord,
  brokerReader,
  encode,
  type ModuleRecord,
  type Subject,
  type Verdict,
} from '../../../src/broker/pam/records.js';
import { isWell } from '../../../src/broker/pam/well.js';
import { openSpool, type Spool } from '../../../src/broker/spool.js';
import type { PamSettings } from '../../../src/core/config.js';
import { Failed } from '../../../src/core/failure.js';
import type { Issuer } from '../../../src/core/ports.js';
import type { Provider } from '../../../src/core/provider.js';
import * as device from '../../../src/grants/device.js';
import { pamFace } from '../../../src/login/faces/pam.js';
import { openIssuer } from '../../../src/providers/issuer.js';
import { type HandClock, handClock } from '../../helpers/clock.js';
import {
  confidentialClient,
  type IssuerOptions,
  publicClient,
  startIssuer,
  type Issuer as TestIssuer,
} from '../../helpers/issuer.js';
import { cleanup, listLog, room } from '../kit.js';

const own = process.geteuid?.() ?? -1;

/** alice may log in, the others may not, each for a reason of their own. */
const accounts: readonly Account[] = [
  { name: 'alice', uid: 4242, gid: 4242, shell: '/bin/bash' },
  { name: 'bob', uid: 4243, gid: 4243, shell: '/bin/sh' },
  { name: 'root', uid: 0, gid: 0, shell: '/bin/bash' },
  { name: 'daemon', uid: 2, gid: 2, shell: '/bin/bash' },
  { name: 'nobody', uid: 65_534, gid: 65_534, shell: '/bin/bash' },
  { name: 'carol', uid: 4244, gid: 4244, shell: '/usr/sbin/nologin' },
];

export interface Setting {
  readonly dir: string;
  readonly clock: HandClock;
  readonly door: Door;
  readonly socket: string;
  readonly issuer: TestIssuer;
  readonly log: ReturnType<typeof listLog>;
  readonly spoolDir: string;
  readonly statusDir: string;
  /** May be changed at any time. */
  readonly settings: { -readonly [K in keyof PamSettings]: PamSettings[K] };
  readonly accounts: Account[];
  /** Codes that the issuer gave out, in order. */
  readonly codes: string[];
  /** The grants that were handed over. */
  grants(): readonly Record<string, unknown>[];
  /** Approves the code that the issuer gave out last, and lets the broker find out. */
  approve(login?: string, code?: string): Promise<void>;
  /** A connection of the module. */
  module(): Module;
  /** One auth with everything said, up to what comes first. */
  auth(more?: Partial<Auth>): Module;
}

export interface SettingOptions {
  readonly issuer?: IssuerOptions;
  readonly pam?: Partial<PamSettings>;
  readonly provider?: Partial<Provider>;
  readonly places?: PlaceLimits;
  readonly spool?: Spool;
  /** Whether credmond takes what is handed over; it does. */
  readonly taken?: boolean;
  /** Stands between the door and the issuer. */
  readonly between?: (issuer: Issuer, clock: HandClock) => Issuer;
}

/** A door that listens, at a real issuer, with a clock that is moved by hand. */
export async function doorOn(options: SettingOptions = {}): Promise<Setting> {
  let busy = 0;
  const clock = handClock(() => busy);
  const dir = room();
  const codes: string[] = [];
  const issuer = await startIssuer({
    now: () => clock.now(),
    interval: 5,
    ...options.issuer,
    onCode: (code) => void codes.push(code),
  });
  cleanup(() => issuer.stop());
  const provider: Provider = {
    name: 'cilogon',
    issuer: issuer.url,
    clientId: confidentialClient.client_id,
    scopes: ['openid', 'storage.read:/'],
    flow: 'device',
    bare: false,
    ...options.provider,
  };
  const secret = provider.clientId === publicClient.client_id ? undefined : confidentialClient.client_secret;
  const real = openIssuer(provider, secret, clock);
  cleanup(() => real.close());
  // The clock waits for what is on its way to the issuer and back.
  const watched = new Proxy(real, {
    get: (target, name) => {
      const value = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return async (...given: unknown[]) => {
        busy++;
        try {
          return await value.apply(target, given);
        } finally {
          busy--;
        }
      };
    },
  });
  const asked = options.between?.(watched, clock) ?? watched;
  const settings = {
    provider: 'cilogon',
    socket: join(dir, 'pam', 'socket'),
    identitiesDir: join(dir, 'identities'),
    map: [{ claim: 'sub' }],
    policy: {},
    firstFactor: 'required' as const,
    qr: 'auto' as const,
    minUid: 1000,
    pin: true,
    ...options.pam,
  };
  const known = [...accounts];
  const log = listLog();
  const spoolDir = join(dir, 'spool');
  const statusDir = join(dir, 'status');
  const offers: Offers = { providers: new Map([[provider.name, provider]]), issuer: () => asked };
  const door = await openDoor({
    listening: { path: settings.socket, mode: 0o600, folderMode: 0o711 },
    countersFile: join(dir, 'counters.json'),
    clock,
    log,
    device,
    words: pamFace,
    spool: options.spool ?? (await openSpool({ dir: spoolDir, clock })),
    host: 'ap1.example.org',
    look: async (key) => known.find(({ name }) => name === key),
    offers: () => ({
      ...offers,
      pam: settings,
      tables: async () => new Map(),
      isWell: (name, user) => isWell({ dir: statusDir, provider: name, now: clock.now() }, user, own),
      becomesWell: async () => options.taken ?? true,
    }),
    ...(options.places && { places: options.places }),
  });
  cleanup(() => door.close());
  const module = () => new Module(settings.socket);
  return {
    dir,
    clock,
    door,
    socket: settings.socket,
    issuer,
    log,
    spoolDir,
    statusDir,
    settings,
    accounts: known,
    codes,
    grants: () =>
      readdirSync(spoolDir)
        .filter((name) => name.endsWith('.grant'))
        .sort()
        .map((name) => JSON.parse(readFileSync(join(spoolDir, name), 'utf8'))),
    async approve(login = 'alice', code = codes.at(-1) ?? '') {
      await issuer.approve(code, { login });
      await clock.pass(6000);
    },
    module,
    auth(more = {}) {
      const one = module();
      one.send({ ...authOf(), ...more });
      return one;
    },
  };
}

const key = 'publickey ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdWX5HCzvfCrJY2n8YJpxZHqlRXZpVzQWq7D5XcWzKq';

const subjectOf = (more: Partial<Subject> = {}): Subject => ({
  user: 'alice',
  connection: 'c:1a2b',
  service: 'sshd',
  rhost: '192.0.2.7',
  mode: 'login',
  ...more,
});

export const authOf = (): Auth => ({
  kind: 'auth',
  ...subjectOf(),
  first: key,
  face: 'prompt',
  seconds: 280,
  locked: false,
});

/** The PAM module's end of one connection, which says whatever a test wants it to say. */
export class Module {
  readonly socket: Socket;
  /** All that the broker sent. */
  readonly told: BrokerRecord[] = [];
  readonly closed: Promise<void>;
  readonly #reader = brokerReader();
  #read = 0;
  #over = false;
  #wake: () => void = () => undefined;

  constructor(path: string) {
    this.socket = connect(path);
    this.socket.on('data', (chunk: Buffer) => {
      for (const { record, malformed } of this.#reader.push(chunk)) {
        if (!record) throw new Error(`the broker sent what is malformed: ${malformed}`);
        this.told.push(record);
      }
      this.#wake();
    });
    this.socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      this.socket.once('close', () => {
        this.#over = true;
        this.#wake();
        resolve();
      });
    });
    cleanup(() => this.socket.destroy());
  }

  send(record: ModuleRecord | Uint8Array): void {
    this.socket.write(record instanceof Uint8Array ? record : encode(record));
  }

  answer(empty = true): void {
    this.send({ kind: 'answer', empty });
  }

  /** The next record. Throws when the broker hangs up instead. */
  async next(): Promise<BrokerRecord> {
    for (;;) {
      const record = this.told[this.#read];
      if (record) {
        this.#read++;
        return record;
      }
      if (this.#over) throw new Failed({ kind: 'protocol', what: 'the broker hung up' });
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** That it hangs up without a verdict. */
  async hungUp(): Promise<void> {
    await this.closed;
    if (this.told.some(({ kind }) => kind === 'verdict')) throw new Error('there was a verdict');
  }

  /** What the broker asks next. */
  async asked(): Promise<string> {
    const record = await this.next();
    if (record.kind !== 'ask') throw new Error(`not asked, but told: ${JSON.stringify(record)}`);
    return record.text;
  }

  /** Answers as a person does who takes a while. */
  async press(clock: HandClock): Promise<void> {
    await clock.pass(2000);
    this.answer();
    await clock.rest();
  }

  /** The next record, which must be the verdict; then it is over. */
  async verdict(): Promise<Verdict> {
    const record = await this.next();
    if (record.kind !== 'verdict') throw new Error(`no verdict: ${JSON.stringify(record)}`);
    this.socket.end();
    return record;
  }
}

/** A login that was approved, up to its verdict. */
export async function approved(door: Setting, login = 'alice', module: Module = door.auth()): Promise<Verdict> {
  await module.asked();
  await door.approve(login);
  module.answer();
  return module.verdict();
}

/** The account and the session phase of a login that was let in. */
export async function phase(
  setting: Setting,
  kind: 'account' | 'commit',
  more: Partial<Subject> = {},
): Promise<Verdict> {
  const module = setting.module();
  module.send({ kind, ...subjectOf(more) });
  return module.verdict();
}

/** Everything that a login could have left somewhere, as one text. */
export function traces({ dir, log }: Setting, ...told: readonly Module[]): string {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const outside = files.filter(({ parentPath }) => !parentPath.endsWith('spool'));
  return [
    ...outside.map(({ parentPath, name }) => readFileSync(join(parentPath, name), 'utf8')),
    ...log.lines,
    ...told.flatMap((one) => one.told.map((record) => JSON.stringify(record))),
  ].join('\n');
}
