/** Programs in the project that has the package installed. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { inject } from 'vitest';
import type { Runtime } from './runtimes';

export const project = inject('project');

export function write(file: string, content: string): string {
  const path = join(project, file);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

export interface RunOptions {
  cwd?: string;
  /** Another user to run as; only root may ask for one. */
  uid?: number;
}

/** What a program prints. Throws if it fails or warns. */
export function run({ command }: Runtime, args: string[], { cwd = project, uid }: RunOptions = {}): string {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(VITEST|NODE_|LMHEAD_|npm_)/.test(name)),
  );
  const [program, ...before] = command;
  const { status, signal, stdout, stderr, error } = spawnSync(program, [...before, ...args], {
    cwd,
    env,
    encoding: 'utf8',
    timeout: 100_000,
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  if (error) throw error;
  if (status !== 0 || stderr !== '')
    throw new Error(`${args.join(' ')}: status ${status ?? signal}\n${stdout}${stderr}`);
  return stdout;
}

/** The body of a program over the package's exports: prints one line, the same everywhere. */
export const USE = `
const weight = new Float32Array([1, 0, 0, 1, 1, 1]);
const head = LMHead.from(weight, { vocabSize: 3, hiddenSize: 2 });
const hidden = new Float32Array([2, 1, -1, 3]);
const best = head.topKSync(hidden, 2);
head.sample(hidden, { temperature: 0, seed: 1 }).then(({ ids }) => {
  console.log(head.backend, best.ids.join(), best.logits.join(), ids.join(), capabilities().version);
  head.close();
});
`;
/** What it prints. */
export const USED = /^native 2,0,1,2 3,2,3,2 2,1 \d+\.\d+\.\d+\n$/;
