import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { as, path, userArgv } from './pool.js';
import type { Outcome } from './run.js';
import { openTerminal, type Terminal } from './terminal.js';

/** The ways other than condor_submit in a plain shell by which users submit jobs. */

/** Puts an executable file into the room: a storer, say. */
export async function putProgram(name: string, text: string): Promise<void> {
  await mkdir(dirname(path(name)), { recursive: true });
  await writeFile(path(name), text);
  await chmod(path(name), 0o755);
}

/** A terminal with an interactive bash in it, which has job control and a prompt `$ `: lines are typed, and end with \r. */
export const openShell = (user: string): Promise<Terminal> =>
  openTerminal({ command: userArgv(user, 'exec bash --norc -i', { TERM: 'tmux-256color', PS1: '$ ' }), cols: 150 });

export interface DagRun {
  /** What condor_dagman ended with; undefined when it never ran, or still does. */
  readonly status: number | undefined;
  /** dagman.out. */
  readonly log: string;
  /** Where DAGMan puts what storers print: lib.out and lib.err. */
  readonly stdout: string;
  readonly stderr: string;
}

/** Puts a DAG into ~/dag of a user, as a.dag; `files` are its node descriptions by name. What was there is gone. */
export async function putDag(user: string, dag: string, files: Readonly<Record<string, string>>): Promise<void> {
  await as(user, 'rm -rf dag && mkdir dag');
  for (const [name, text] of Object.entries({ ...files, 'a.dag': dag }))
    await as(user, `cat > dag/${name}`, { stdin: text });
}

/** Runs a DAG to its end in ~/dag of a user; `files` are its node descriptions by name. */
export async function runDag(user: string, dag: string, files: Readonly<Record<string, string>>): Promise<DagRun> {
  await putDag(user, dag, files);
  const run = await as(user, 'cd dag && condor_submit_dag a.dag && condor_wait -wait 100 a.dag.dagman.log');
  const left = (name: string) => readFile(path(`/home/${user}/dag/a.dag.${name}`), 'utf8').catch(() => '');
  const log = `${await left('dagman.out')}${run.code === 0 ? '' : run.stdout + run.stderr}`;
  const status = /EXITING WITH STATUS (\d+)/.exec(log)?.[1];
  return {
    status: status === undefined ? undefined : Number(status),
    log,
    stdout: await left('lib.out'),
    stderr: await left('lib.err'),
  };
}

const program = `
import htcondor2, sys
job = htcondor2.Submit(sys.stdin.read())
job.issue_credentials()
print(htcondor2.Schedd().submit(job, count=1).cluster())`;

/** Submits a job by the Python bindings, with `issue_credentials`; what they raise is on stderr, and the exit code 1. */
export const submitByPython = (user: string, description: string): Promise<Outcome> =>
  as(user, `python3 -W ignore -c '${program}'`, { stdin: description });
