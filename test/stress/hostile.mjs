import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { Worker } from 'node:worker_threads';
import * as lmhead from '../../dist/index.mjs';
import { folder, NAMES, TARGETS } from './hostile/calls.mjs';
import { below, changing, D, numbers, OWN_SYMBOL, Own, pick, seedDice, V } from './hostile/chance.mjs';
import { head, MAKERS, someHead } from './hostile/heads.mjs';
import { beginSpoiling, spoil } from './hostile/spoil.mjs';
import { exposeArrays } from './hostile/values.mjs';

const { LMHead, LMHeadError } = lmhead;

const counts = { cases: 0, results: 0, refused: 0, own: 0, functions: NAMES.length };
const failures = [];

function judge(seed, name, error) {
  if (error instanceof LMHeadError) {
    const isShort = error.message.length < 2000 || error.message.startsWith('path: ');
    if (!/^ERR_LMHEAD_[A-Z]+$/.test(error.code) || !isShort) fail(seed, name, error);
    if (isOurs(error.cause)) fail(seed, name, error.cause);
    counts.refused++;
  } else if (error instanceof Own || error === OWN_SYMBOL || error === undefined) {
    counts.own++;
  } else {
    fail(seed, name, error);
  }
}

/** What was thrown while an argument was read, but by a mistake of the library's. */
function isOurs(cause) {
  if (!(cause instanceof TypeError || cause instanceof RangeError)) return false;
  const { code, message, stack } = cause;
  // Of Node's: about a path or a URL, or from an object that only looks like one of its own.
  if (typeof code === 'string' || /^ +at .*\(node:/m.test(stack.split('\n', 2)[1])) return false;
  return !/prox(y|ied)|incompatible receiver|private member|primitive value|memory|detached/.test(message);
}

function fail(seed, name, error) {
  if (failures.length < 1000)
    failures.push({ seed, name, error: String(error?.stack ?? error).slice(0, 600) });
}

/** Ids that are none, arrays of lengths that are none. */
function look(seed, name, result) {
  counts.results++;
  if (typeof result !== 'object' || result === null) return;
  const limit = name === 'restore' || name === 'rowsOf' ? Infinity : 2000;
  for (const [key, value] of Object.entries(result)) {
    if (key !== 'ids' || !(value instanceof Uint32Array)) continue;
    if (value.length > limit) fail(seed, name, `result: ${value.length} ids`);
    for (const id of value) if (id >= V && id !== 2 ** 32 - 1) fail(seed, name, `result: the id ${id}`);
  }
}

function runCase(seed) {
  seedDice(seed);
  someHead();
  counts.cases++;
  const name = pick(NAMES);
  const { on, makeArguments, options } = TARGETS[name];
  const list = makeArguments();
  exposeArrays(list.filter(ArrayBuffer.isView));
  beginSpoiling();
  for (let count = 1 + below(3); count > 0; count--) spoil(list, options);
  // To see one again.
  if (process.argv[4] === 'show')
    console.error(seed, head.kind, name, inspect(list, { depth: 4, showProxy: true }));
  try {
    const result = on()[name](...list);
    if (result instanceof Promise) {
      return result.then(
        value => {
          done(value);
          look(seed, name, value);
        },
        error => judge(seed, name, error),
      );
    }
    done(result);
    look(seed, name, result);
  } catch (error) {
    judge(seed, name, error);
  }
}

/** Heads that cases made. */
function done(result) {
  if (result instanceof LMHead) result.close();
  else if (result?.head instanceof LMHead) result.head.close();
}

async function runCases(count, first) {
  for (const event of ['unhandledRejection', 'uncaughtException'])
    process.on(event, error => fail(current, event, error));
  process.on('warning', () => {});
  // A promise that never settles keeps no process.
  const unsettled = new Set();
  process.on('exit', () => {
    if (unsettled.size > 0) console.error('never settled:', [...unsettled]);
  });
  let current = first;
  MAKERS.native().saveSync(join(folder, 'head.safetensors'));
  const wanted = MAKERS.native().logitsSync(numbers(D)).join();
  const writer = new Worker(new URL('./hostile/writer.mjs', import.meta.url), { workerData: changing });
  writer.unref();
  let pending = [];
  for (; current < first + count; current++) {
    unsettled.add(current);
    const seed = current;
    pending.push(Promise.resolve(runCase(current)).then(() => unsettled.delete(seed)));
    if (pending.length < 20) continue;
    await Promise.all(pending);
    pending = [];
    if (current % 1000 === 0) await new Promise(setImmediate);
  }
  await Promise.all(pending);
  await new Promise(setImmediate);
  if (MAKERS.native().logitsSync(numbers(D)).join() !== wanted) fail(first, 'logitsSync', 'other numbers');
  await writer.terminate();
  rmSync(folder, { recursive: true, force: true });
  console.log(JSON.stringify(counts));
  if (failures.length > 0) {
    console.error(JSON.stringify(failures, undefined, 1));
    process.exitCode = 1;
  }
}

runCases(Number(process.argv[2]), Number(process.argv[3] ?? 0)).catch(error => {
  console.error('the test itself fails:', error);
  process.exit(2);
});
