/** Finds the shards, and puts those that are not done into the queue. As often as one likes: it adds what is missing. */
import { opendir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { capabilities, LMHead } from '../../dist/index.mjs';
import {
  makeFolders,
  namesIn,
  planFile,
  readJson,
  readShards,
  setAsideFile,
  shardsFile,
  writeWhole,
} from './files.mjs';
import { jobOf, openQueue } from './queue.mjs';

const AT_ONCE = 500;
const HIDDEN = '.hidden.npy';

/** @param {{ model: string, shards: string, out: string, redis: string, queue: string, retry?: boolean }} options */
export async function plan({ model, shards, out, redis, queue: name, retry }) {
  const started = performance.now();
  await makeFolders(out);
  await writePlan(resolve(model), resolve(shards), out);
  const queue = openQueue({ redis, queue: name });
  try {
    if (retry) await takeBack(queue, out);
    const done = await namesIn(out, 'results');
    const aside = await namesIn(out, 'set-aside');
    let count = 0;
    let added = [];
    let planned = 0;
    let sending = Promise.resolve();
    // Redis takes some while the next are made.
    const flush = async () => {
      await sending;
      if (added.length > 0) sending = queue.addBulk(added);
      sending.catch(() => undefined); // whoever waits for it is told
      planned += added.length;
      added = [];
    };
    for await (const shard of readShards(out)) {
      count++;
      if (done.has(shard.name) || aside.has(shard.name)) continue;
      if (added.push(jobOf(shard)) === AT_ONCE) await flush();
    }
    await flush();
    await sending;
    const seconds = ((performance.now() - started) / 1000).toFixed(2);
    console.log(
      `${count} shards: ${planned} to do, ${done.size} done, ${aside.size} set aside (${seconds} s)`,
    );
  } finally {
    await queue.close();
  }
}

/** What all workers go by; a plan that is there may only be made again as it is. */
async function writePlan(model, folder, out) {
  const head = await LMHead.open(model);
  const { vocabSize, hiddenSize, dtype } = head;
  head.close();
  const named = await findShards(folder);
  // Other instruction sets give other last bits, and the results would depend on who did what.
  const { isa, version } = capabilities();
  const made = { model, folder, vocabSize, hiddenSize, dtype, isa, version, shards: named.names.length };
  const before = await readJson(planFile(out));
  if (before && JSON.stringify({ ...before, shards: 0 }) !== JSON.stringify({ ...made, shards: 0 })) {
    throw new Error(
      `--out: got ${out} with the plan of another model, corpus or instruction set; want another folder`,
    );
  }
  await writeWhole(shardsFile(out), linesOf(named));
  await writeWhole(planFile(out), `${JSON.stringify(made, null, 2)}\n`);
}

/** A line for each shard, many at a time. */
function* linesOf({ names, fileOf }) {
  let lines = '';
  for (const name of names) {
    const lengths = fileOf(name, 'lengths');
    const shard = { name, hidden: fileOf(name, 'hidden'), targets: fileOf(name, 'targets'), lengths };
    lines += `${JSON.stringify(shard)}\n`;
    if (lines.length < 2 ** 16) continue;
    yield lines;
    lines = '';
  }
  yield lines;
}

/** NAME.hidden.npy with NAME.targets.npy, and NAME.lengths.npy where a shard has several documents. */
async function findShards(folder) {
  const names = new Set();
  const lengths = new Set();
  for await (const { name } of await opendir(folder)) {
    if (name.endsWith(HIDDEN)) names.add(name.slice(0, -HIDDEN.length));
    if (name.endsWith('.lengths.npy')) lengths.add(name.slice(0, -'.lengths.npy'.length));
  }
  if (names.size === 0) throw new Error(`--shards: got ${folder} without a file NAME${HIDDEN}; want some`);
  const fileOf = (name, what) =>
    what === 'lengths' && !lengths.has(name) ? undefined : join(folder, `${name}.${what}.npy`);
  return { names: [...names].sort(), fileOf };
}

/** What was set aside gets three tries more. */
async function takeBack(queue, out) {
  for (const name of await namesIn(out, 'set-aside')) await rm(setAsideFile(out, name));
  for (let jobs = await queue.getFailed(0, AT_ONCE - 1); jobs.length > 0; ) {
    for (const job of jobs) await job.remove();
    jobs = await queue.getFailed(0, AT_ONCE - 1);
  }
}
