#!/usr/bin/env node
/**
 * Scores a corpus of hidden states on any number of machines: a queue in Redis says who does what next, files say what is done.
 *
 *     bulk-scoring plan   --model FILE --shards FOLDER --out FOLDER [--retry]
 *     bulk-scoring work   --out FOLDER [--threads N] [--concurrency N] [--lock SECONDS] [--stay]
 *     bulk-scoring watch  --out FOLDER [--every SECONDS] [--once]
 *     bulk-scoring report --out FOLDER
 *
 * plan, work and watch take --redis URL (redis://127.0.0.1:6379) and --queue NAME (lmhead-scoring). README.md says more.
 */
import { parseArgs } from 'node:util';
import { plan } from './plan.mjs';
import { report } from './report.mjs';
import { watch } from './watch.mjs';
import { work } from './work.mjs';

const STRING = { type: 'string' };
const FLAG = { type: 'boolean' };
const QUEUE = {
  redis: { ...STRING, default: process.env.REDIS_URL ?? 'redis://127.0.0.1:6379' },
  queue: { ...STRING, default: 'lmhead-scoring' },
};
const COMMANDS = {
  plan: { run: plan, options: { ...QUEUE, model: STRING, shards: STRING, out: STRING, retry: FLAG } },
  work: {
    run: work,
    options: { ...QUEUE, out: STRING, threads: STRING, concurrency: STRING, lock: STRING, stay: FLAG },
  },
  watch: { run: watch, options: { ...QUEUE, out: STRING, every: STRING, once: FLAG } },
  report: { run: report, options: { out: STRING } },
};
const NEEDED = { plan: ['model', 'shards', 'out'], work: ['out'], watch: ['out'], report: ['out'] };
const NUMBERS = ['threads', 'concurrency', 'lock', 'every'];

function usageError(message) {
  console.error(`bulk-scoring: ${message}; want plan, work, watch or report, as README.md has them`);
  process.exit(2);
}

const [name, ...rest] = process.argv.slice(2);
const command = Object.hasOwn(COMMANDS, name ?? '')
  ? COMMANDS[name]
  : usageError(`got ${name ?? 'no command'}`);
let values;
try {
  ({ values } = parseArgs({ args: rest, options: command.options }));
} catch (error) {
  usageError(error.message);
}
for (const option of NEEDED[name]) if (!values[option]) usageError(`got no --${option}`);
for (const option of NUMBERS) {
  if (values[option] === undefined) continue;
  const number = Number(values[option]);
  if (!(number > 0)) usageError(`--${option}: got ${values[option]}`);
  values[option] = number;
}
try {
  await command.run(values);
} catch (error) {
  console.error(`bulk-scoring ${name}: ${error.message}`);
  process.exitCode = 1;
}
