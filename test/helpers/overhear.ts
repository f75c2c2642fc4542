import { ChildProcess } from 'node:child_process';
import fs, { type Stats } from 'node:fs';
import promises from 'node:fs/promises';
import http from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import { constants, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { Readable } from 'node:stream';
import { hear, rememberIn } from './overheard.js';

/*
 * In each worker of vitest, before its tests: listens to what every program that a test starts writes, to every file that
 * others may read in a temporary folder before a test removes it, and to the secrets in what every issuer answers. Nothing
 * is changed by it. It is here, at Node's own doors, and not in the tests, since the test that forgets is the one that counts.
 */

/** Pieces that are larger say nothing more: bytes. */
const most = 16 << 20;

/** Files that programs are meant to make with secrets in them. */
const holdsSecrets = /\.(?:top|use|meta|grant|key|pem|tmp)$|secret[^/]*$|\/bt_u[^/]*$/;

/** Those that tests make all by themselves: what a tool in the place of condor_store_cred was given, and bundles. */
const ofTests = /\/credmon-storer-[^/]+\/(?:there|status)\/|\/credmon-login-[^/]+\/seen\/|\.mjs$/;

/** Whose standard output is a log, too. */
const program = /\/bin\/(credmon[a-z-]*)\.js$/;

function overhearProcesses(): void {
  type Spawned = ChildProcess & {
    spawn(options: { readonly args?: readonly string[]; readonly file: string }): number;
  };
  const prototype = ChildProcess.prototype as Spawned;
  const { spawn } = prototype;
  prototype.spawn = function (this: Spawned, options) {
    const result = spawn.call(this, options);
    const args = options.args ?? [options.file];
    const index = args.findIndex((arg) => program.test(arg));
    const name = program.exec(args[index] ?? '')?.[1];
    const what = name === undefined ? basename(args[0] ?? '') : [name, ...args.slice(index + 1)].join(' ');
    const daemon = name === 'credmond' || name === 'credmon-broker';
    listen(this.stderr, daemon ? 'log' : 'screen', `stderr of ${what}`);
    // `credmon token` prints one, and so does `cat`.
    if (name !== undefined && args[index + 1] !== 'token')
      listen(this.stdout, daemon ? 'log' : 'screen', `stdout of ${what}`);
    return result;
  };
}

/** Everything that comes in, whole, when it ends: a secret may come in two pieces. */
function listen(stream: Readable | null, kind: 'log' | 'screen', source: string): void {
  if (stream === null) return;
  const pieces: Buffer[] = [];
  const { push } = stream;
  stream.push = (chunk: unknown, ...more: [BufferEncoding?]) => {
    if (chunk !== null) pieces.push(Buffer.from(chunk as Buffer));
    return push.call(stream, chunk, ...more);
  };
  stream.once('close', () => hear(kind, source, Buffer.concat(pieces).toString('utf8')));
}

/** What is about to be removed, with all that is in it, as long as it is temporary. */
export function overhearFiles(path: string): void {
  let stat: Stats;
  try {
    stat = fs.lstatSync(path);
    if (stat.isDirectory()) {
      for (const name of fs.readdirSync(path)) overhearFiles(join(path, name));
      return;
    }
    if (/^core(?:\.\d+)?$/.test(basename(path))) {
      const crashed = crashOf(path);
      if (crashed !== undefined) hear('core', path, crashed);
      return;
    }
    if (!stat.isFile() || stat.size === 0 || stat.size > most || holdsSecrets.test(path) || ofTests.test(path)) return;
    // What others may not read may hold secrets; but status files are for one person each, and logs may be anybody's.
    if ((stat.mode & 0o044) === 0 && !/\/status\/|log/i.test(path)) return;
    hear('log', path, fs.readFileSync(path, 'utf8'));
  } catch {
    // It is gone, or not ours to read.
  }
}

/** Types of notes (linux/elf.h): NT_PRSTATUS begins with the signal, and 56 bytes into NT_PRPSINFO is the command line. */
const notes = { status: 1, info: 3 };

/**
 * Which program of ours crashed, and of what; undefined where it was none: programs of HTCondor's own do now and then, and
 * condor_master's fast shutdown may find a Node that is just starting, which takes SIGQUIT for a wish for a core. A core begins
 * with notes, core(5), which name the program, the signal and the files that were mapped.
 */
function crashOf(core: string): string | undefined {
  const room = Buffer.alloc(1 << 20);
  const fd = fs.openSync(core, 'r');
  try {
    const head = room.subarray(0, fs.readSync(fd, room));
    if (!head.includes('/node')) return undefined;
    /** Each is the lengths of its name and of what it says, its type, its name, and that. */
    const body = (type: number): Buffer | undefined => {
      for (let at = head.indexOf('CORE\0'); at >= 12; at = head.indexOf('CORE\0', at + 1))
        if (head.readUInt32LE(at - 4) === type) return head.subarray(at + 8, at + 8 + head.readUInt32LE(at - 8));
      return undefined;
    };
    const signal = body(notes.status)?.readInt32LE(0);
    if (signal === constants.signals.SIGQUIT) return undefined;
    const line = body(notes.info)?.subarray(56).toString('latin1').replace(/\0.*/s, '').trim();
    return `a core dump of "${line}", signal ${signal}`;
  } finally {
    fs.closeSync(fd);
  }
}

function overhearRemovals(): void {
  const { rmSync } = fs;
  const { rm } = promises;
  const isTemporary = (path: unknown): path is string => typeof path === 'string' && path.startsWith(tmpdir());
  fs.rmSync = (path, options) => {
    if (options?.recursive && isTemporary(path)) overhearFiles(path);
    rmSync(path, options);
  };
  promises.rm = (path, options) => {
    if (options?.recursive && isTemporary(path)) overhearFiles(path);
    return rm(path, options);
  };
}

function overhearIssuers(): void {
  const prototype = http.ServerResponse.prototype;
  for (const name of ['write', 'end'] as const) {
    const real = prototype[name] as (...given: unknown[]) => never;
    const listening = function (this: http.ServerResponse, ...given: unknown[]): never {
      if (typeof given[0] === 'string' || Buffer.isBuffer(given[0])) rememberIn(given[0].toString('utf8'));
      return real.apply(this, given);
    };
    Object.assign(prototype, { [name]: listening });
  }
}

overhearProcesses();
overhearRemovals();
overhearIssuers();
syncBuiltinESMExports();
