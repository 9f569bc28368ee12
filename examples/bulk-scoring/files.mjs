/**
 * The folder that all machines see. Whoever reads a file there sees all of it or nothing: it is written under another name, and
 * takes its own when it is on the disk.
 *
 *     plan.json       the model, and how many shards there are
 *     shards.jsonl    a shard a line: { name, hidden, targets, lengths? }
 *     results/NAME    what a shard's scoring gave
 *     set-aside/NAME  why a shard could not be scored
 */
import { createReadStream } from 'node:fs';
import { mkdir, open, opendir, readFile, rename, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export const planFile = out => join(out, 'plan.json');
export const shardsFile = out => join(out, 'shards.jsonl');
export const resultFile = (out, name) => join(out, 'results', `${encodeURIComponent(name)}.json`);
export const setAsideFile = (out, name) => join(out, 'set-aside', `${encodeURIComponent(name)}.json`);

export async function makeFolders(out) {
  for (const folder of ['results', 'set-aside']) await mkdir(join(out, folder), { recursive: true });
}

let written = 0;

/** @param {string | AsyncIterable<string> | Iterable<string>} content text, or its pieces */
export async function writeWhole(path, content) {
  const temporary = `${path}.${hostname()}.${process.pid}.${written++}.tmp`;
  const file = await open(temporary, 'wx');
  try {
    await file.writeFile(content);
    await file.sync();
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

/** Undefined where there is none. */
export async function readJson(path) {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

export async function readPlan(out) {
  const plan = await readJson(planFile(out));
  if (plan) return plan;
  throw new Error(`--out: got ${out} without a plan.json; want a folder that plan has made`);
}

/** The shards of the plan, in its order. */
export async function* readShards(out) {
  const lines = createInterface({ input: createReadStream(shardsFile(out)), crlfDelay: Infinity });
  for await (const line of lines) yield JSON.parse(line);
}

/** Names of the shards that have a file in that folder. */
export async function namesIn(out, folder) {
  const names = new Set();
  for await (const { name } of await opendir(join(out, folder))) {
    if (name.endsWith('.json')) names.add(decodeURIComponent(name.slice(0, -'.json'.length)));
  }
  return names;
}
