/** Threads and processes that end while jobs run and wait, in processes of their own. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';

interface Ended {
  status: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

/** Runs a program of this folder. What it leaves in the folder for temporary files is removed. */
async function run(program: string, ...programArguments: (string | number)[]): Promise<Ended> {
  const folder = mkdtempSync(join(tmpdir(), 'lmhead-endings-'));
  try {
    const child = spawn(process.execPath, [join(__dirname, program), ...programArguments.map(String)], {
      env: { ...process.env, TMPDIR: folder, TMP: folder, TEMP: folder, NODE_OPTIONS: '' },
      timeout: 300_000,
      killSignal: 'SIGKILL',
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (text: Buffer) => {
      stdout += text;
    });
    child.stderr.on('data', (text: Buffer) => {
      stderr += text;
    });
    return await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status, signal) => resolve({ status, signal, stdout, stderr }));
    });
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** What became of workers that were terminated. */
export interface Terminated {
  terminated: number;
  methods: number;
  early: number;
}

/** Terminates so many workers, and says what became of it; the process has to end by itself and without a complaint. */
export async function terminateWorkers(count: number, seed: number): Promise<Terminated> {
  const { stdout, ...ended } = await run('terminated.mjs', count, seed);
  expect({ ...ended, seed }).toEqual({ status: 0, signal: null, stderr: '', seed });
  return JSON.parse(stdout) as Terminated;
}

/** The ways in which processes end, and with what. */
const EXITS: Record<string, { status: number | null; signal: string | null; stderr?: RegExp }> = {
  end: { status: 0, signal: null },
  exit: { status: 7, signal: null },
  exitCode: { status: 5, signal: null },
  throw: { status: 1, signal: null, stderr: /on purpose/ },
  reject: { status: 1, signal: null, stderr: /on purpose/ },
  close: { status: 7, signal: null },
  'first exit': { status: 7, signal: null },
  'first throw': { status: 1, signal: null, stderr: /on purpose/ },
  'first reject': { status: 1, signal: null, stderr: /on purpose/ },
  'first close': { status: 7, signal: null },
  workers: { status: 7, signal: null },
  kill: { status: null, signal: 'SIGTERM' },
};
/** Windows has no signals: a process is ended from outside. */
const WAYS = Object.keys(EXITS).filter(way => process.platform !== 'win32' || way !== 'kill');

/** Lets so many processes end with jobs pending, two at a time. @returns how many there were of each way */
export async function endProcesses(count: number, seed: number): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  let next = 0;
  const one = async () => {
    while (next < count) {
      const own = seed + next;
      const way = WAYS[next++ % WAYS.length];
      const { status, signal, stdout, stderr } = await run('exits.mjs', way, own);
      const wanted = EXITS[way];
      expect({ way, own, status, signal, stderr: wanted.stderr ? '' : stderr }).toEqual({
        way,
        own,
        status: wanted.status,
        signal: wanted.signal,
        stderr: '',
      });
      if (wanted.stderr) {
        expect(stderr).toMatch(wanted.stderr);
        expect(stderr).not.toMatch(/FATAL|terminate called|Assertion|Segmentation/);
      }
      if (way === 'end') expect(stdout).toBe('pending 0\n');
      counts[way] = (counts[way] ?? 0) + 1;
    }
  };
  await Promise.all([one(), one()]);
  return counts;
}
