import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

export const packageFolder = resolve(__dirname, '../..');
const entry = join(packageFolder, 'dist', 'index.js');

export interface Ended {
  /** Null where a signal ended it: a crash, or the time limit. */
  status: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

/**
 * Runs CommonJS code in a process of its own, with all exports of the built package (of `npm run build:ts`) in scope as
 * `lmhead`. Test runners' and this library's own variables are not handed on.
 */
export function runNode(
  code: string,
  { env = {}, from = entry, flags = [] }: { env?: NodeJS.ProcessEnv; from?: string; flags?: string[] } = {},
): Ended {
  if (!existsSync(from)) throw new Error(`${from} is missing: npm run build:ts makes it`);
  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(VITEST|NODE_|LMHEAD_)/.test(name)),
  );
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [...flags, '-e', code], {
    env: { ...inherited, LMHEAD_ENTRY: from, ...env },
    encoding: 'utf8',
    timeout: 40_000,
    killSignal: 'SIGKILL',
  });
  return { status, signal, stdout, stderr };
}

/** To begin the code with. */
export const PREAMBLE = `
const entry = process.env.LMHEAD_ENTRY;
const lmhead = require(entry);
const { LMHead, LMHeadError, capabilities } = lmhead;
`;
