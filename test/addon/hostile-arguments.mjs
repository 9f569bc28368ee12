/**
 * Calls the native addon's own functions, past all checks of lib/, with arguments that lib/ would never give: of every type, length and
 * memory; objects whose properties are getters that close the head, detach, resize, throw, change or call back; proxies; other realms.
 * Every call has to give a result, or an LMHeadError, or what the caller's own code threw; and nothing may be written outside of the
 * arrays. `node hostile-arguments.mjs [calls] [seed]`; the last line is `N calls: …`, and the exit code 1 where one went wrong.
 */
import { addon, LMHeadError } from './hostile/addon.mjs';
import { exchangeMemories, marginsAreWhole } from './hostile/arrays.mjs';
import { below, chance, pick, seedChance } from './hostile/chance.mjs';
import { D, KINDS, MIX, newHead, V } from './hostile/right-calls.mjs';
import { forgetThrown, spoil, strangers } from './hostile/wrong-values.mjs';

const calls = Number(process.argv[2] ?? 3000);
seedChance(Number(process.argv[3] ?? 1));

const counts = { returned: 0, LMHeadError: 0, own: 0, 'of JavaScript': 0 };
let failures = 0;
function wrong(what, detail) {
  console.error(`wrong: ${what}`, detail);
  failures++;
}

function judge(error, own) {
  if (own.has(error)) counts.own++;
  else if (error instanceof LMHeadError) counts.LMHeadError++;
  // V8's own: a revoked proxy, a receiver or constructor that is none; and what mischief stumbled over.
  else if (error instanceof TypeError || error instanceof RangeError || error?.name === 'DataCloneError')
    counts['of JavaScript']++;
  else wrong('an error of another kind', error);
}

const control = newHead();
const question = new Float32Array(3 * D).map((_, i) => Math.sin(i));
function answer(head) {
  const ids = new Uint32Array(3);
  const logits = new Float32Array(3 * V);
  head.run(3, question, 0, ids, logits);
  return Buffer.concat([Buffer.from(ids.buffer), Buffer.from(logits.buffer)]).toString('base64');
}
const expected = answer(control);

let head = newHead();
let closed = false;
const pending = new Set();
/** The tickets that an abort has named. */
const aborted = new Set();
/** Whether arguments that are right may come to it: no probabilities, no token left, a head that is closed, an abort. */
const isDue = (status, ticket) =>
  status === 2 || status === 4 || status === 5 || (status === 3 && aborted.has(ticket));
for (let i = 0; i < calls; i++) {
  const mine = [];
  exchangeMemories(mine);
  const own = forgetThrown();
  if (closed || chance(2)) head = newHead();
  closed = false;
  const name = pick(MIX);
  const call = KINDS[name](head);
  const spoilt = chance(80);
  if (spoilt) for (let times = 1 + below(3); times > 0; times--) spoil(call, head);
  if (spoilt && name !== 'Head' && chance(3)) call.receiver = pick(strangers());
  try {
    const { receiver, list, ticket } = call;
    let result;
    if (call.name === 'abort') aborted.add(list[0]);
    if (call.name === 'Head') {
      const made = chance(97)
        ? new addon.Head(...list)
        : Reflect.construct(addon.Head, list, pick([Object, Array, Map]));
      if (chance(50)) made.close?.();
    } else {
      const of = call.name in addon ? addon : head;
      result = of[call.name].apply(receiver, list);
    }
    counts.returned++;
    if (result instanceof Promise) {
      // Threads write to the arrays until it has settled: they stay as they are.
      const settled = result.then(
        value => {
          if (!spoilt && Array.isArray(value) && !isDue(value[0], ticket)) wrong(name, value);
        },
        error => {
          if (!own.has(error) && !(error instanceof LMHeadError)) wrong('a rejection of another kind', error);
        },
      );
      pending.add(settled);
      void settled.then(() => pending.delete(settled));
      if (chance(50) || pending.size > 30) await settled; // the others run, or wait, beside the next calls
    }
  } catch (error) {
    judge(error, own);
    closed = error instanceof LMHeadError && error.code === 'ERR_LMHEAD_CLOSED';
    if (!spoilt && error.code !== 'ERR_LMHEAD_CLOSED' && error.code !== 'ERR_LMHEAD_IO')
      wrong(`a right call of ${name}`, error);
  }
  exchangeMemories(mine);
  if (!marginsAreWhole()) wrong(`${name} has written outside of its arrays`, call.list);
  if (i % 50 === 0 && answer(control) !== expected) wrong('another head has other results now', i);
}
await Promise.all(pending);
console.log(
  `${calls} calls: ${Object.entries(counts)
    .map(entry => entry.reverse().join(' '))
    .join(', ')}`,
);
if (failures > 0) process.exitCode = 1;
