/** Thousands of calls at once, some aborted, their arguments overwritten or transferred as soon as a call has returned. */
import { expect } from 'vitest';
import { LMHead, type Sample } from '../../lib';
import type { LMHeadError } from '../../lib/errors';
import { someBits } from '../support/matrices';
import { someNumbers } from '../support/numbers';
import { Random } from '../support/random';

export interface CallCounts {
  calls: number;
  /** With the bits of the synchronous call. */
  same: number;
  aborted: number;
  closed: number;
  /** Of these, after their arguments' memory was transferred away, or overwritten. */
  transferred: number;
  overwritten: number;
  /** Refused, as `out` was transferred away meanwhile, or was another call's. */
  outGone: number;
  outBusy: number;
}

const [V, D] = [307, 24];

interface Arguments {
  hidden: Float32Array | Uint16Array;
  n: number;
  /** What the call takes beside hidden states and options. */
  ids: Uint32Array;
  options: Record<string, unknown>;
}

interface Method {
  sync: (head: LMHead, given: Arguments) => unknown;
  async: (head: LMHead, given: Arguments, more: object) => Promise<unknown>;
  wide?: true;
}

const METHODS: Record<string, Method> = {
  logits: {
    sync: (head, { hidden, options }) => head.logitsSync(hidden, options),
    async: (head, { hidden, options }, more) => head.logits(hidden, { ...options, ...more }),
    wide: true,
  },
  logProbs: {
    sync: (head, { hidden, options }) => head.logProbsSync(hidden, { ...options, temperature: 0.7 }),
    async: (head, { hidden, options }, more) =>
      head.logProbs(hidden, { ...options, temperature: 0.7, ...more }),
    wide: true,
  },
  probs: {
    sync: (head, { hidden, options }) => head.probsSync(hidden, options),
    async: (head, { hidden, options }, more) => head.probs(hidden, { ...options, ...more }),
    wide: true,
  },
  topK: {
    sync: (head, { hidden, options }) => head.topKSync(hidden, 5, options),
    async: (head, { hidden, options }, more) => head.topK(hidden, 5, { ...options, ...more }),
  },
  argmax: {
    sync: (head, { hidden, options }) => head.argmaxSync(hidden, options),
    async: (head, { hidden, options }, more) => head.argmax(hidden, { ...options, ...more }),
  },
  sample: {
    sync: (head, { hidden, ids, options }) =>
      head.sampleSync(hidden, { ...options, ...FILTERS, bannedIds: ids, history: ids }),
    async: (head, { hidden, ids, options }, more) =>
      head.sample(hidden, { ...options, ...FILTERS, bannedIds: ids, history: ids, ...more }),
  },
  candidates: {
    sync: (head, { hidden, ids, options }) =>
      head.candidatesSync(hidden, { ...options, topP: 0.9, topK: 40, bannedIds: ids }),
    async: (head, { hidden, ids, options }, more) =>
      head.candidates(hidden, { ...options, topP: 0.9, topK: 40, bannedIds: ids, ...more }),
  },
  score: {
    sync: (head, { hidden, ids, options }) => head.scoreSync(hidden, ids, { ...options, entropy: true }),
    async: (head, { hidden, ids, options }, more) =>
      head.score(hidden, ids, { ...options, entropy: true, ...more }),
  },
  run: {
    sync: (head, { hidden, ids, options }) =>
      head.runSync(hidden, { ...options, ...EVERYTHING, targets: ids }),
    async: (head, { hidden, ids, options }, more) =>
      head.run(hidden, { ...options, ...EVERYTHING, targets: ids, ...more }),
  },
  verifyDraft: {
    sync: (head, { hidden, ids, options }) =>
      head.verifyDraftSync(hidden, ids, { ...options, seed: 3, topK: 30 }),
    async: (head, { hidden, ids, options }, more) =>
      head.verifyDraft(hidden, ids, { ...options, seed: 3, topK: 30, ...more }),
  },
  nearest: {
    sync: (head, { hidden, options }) =>
      head.nearestSync(hidden.subarray(0, D), 3, { metric: 'cosine', ...options }),
    async: (head, { hidden, options }, more) =>
      head.nearest(hidden.subarray(0, D), 3, { metric: 'cosine', ...options, ...more }),
  },
  'rows of E': {
    sync: (head, { hidden, options }) => head.logProbsSync(hidden, { ...options, rows: ROWS }),
    async: (head, { hidden, options }, more) => head.logProbs(hidden, { ...options, rows: ROWS, ...more }),
  },
};
const FILTERS = { topP: 0.95, seed: 9, repetitionPenalty: 1.2, topLogProbs: 3 };
const EVERYTHING = { logits: true, logProbs: true, argmax: true, top: 4, sample: true, seed: 5 } as const;
const ROWS = [5, 300, 17, 2, 90];

/** What a result holds, as bytes. */
function bytesOf(result: unknown): string {
  if (ArrayBuffer.isView(result))
    return Buffer.from(result.buffer, result.byteOffset, result.byteLength).toString('latin1');
  if (typeof result !== 'object' || result === null) return String(result);
  return Object.entries(result as Sample)
    .map(([key, value]) => `${key}:${bytesOf(value)}`)
    .join();
}

/** A copy, on memory of its own or on memory that threads share. */
function copyOf<T extends Float32Array | Uint16Array | Uint32Array>(list: T, shared: boolean): T {
  const buffer = shared ? new SharedArrayBuffer(list.byteLength) : new ArrayBuffer(list.byteLength);
  const copy = new (list.constructor as new (buffer: ArrayBufferLike) => T)(buffer);
  copy.set(list);
  return copy;
}

function transferAway(list: ArrayBufferView): void {
  structuredClone(0, { transfer: [list.buffer as ArrayBuffer] });
}

/**
 * Makes so many calls without awaiting any, and then holds each result against that of the synchronous call.
 * @throws where one differs, or fails with what was not its lot
 */
export async function callAtOnce(
  backend: 'native' | 'reference',
  count: number,
  seed: number,
): Promise<CallCounts> {
  const dice = new Random(seed);
  const counts: CallCounts = {
    calls: count,
    same: 0,
    aborted: 0,
    closed: 0,
    transferred: 0,
    overwritten: 0,
    outGone: 0,
    outBusy: 0,
  };
  const weight = someNumbers(V * D, 1);
  const sizes = { vocabSize: V, hiddenSize: D, backend };
  const heads = [
    LMHead.from(weight, sizes),
    LMHead.from(someBits(V * D, 'bf16').bits, { ...sizes, dtype: 'bf16', softCap: 4, threads: 3 }),
    LMHead.from(weight, { ...sizes, bias: someNumbers(V, 7), threads: 1 }),
  ];
  heads.push(LMHead.attach(heads[0].handle));
  const pool = Array.from({ length: 12 }, (_, i): Arguments => {
    const n = [1, 1, 2, 3, 7][i % 5];
    const ids = Uint32Array.from({ length: n }, (_, j) => (i * 31 + j * 7) % V);
    return i % 4 === 3
      ? { hidden: someBits(n * D, 'f16', i + 1).bits, n, ids, options: { hiddenDtype: 'f16' } }
      : { hidden: someNumbers(n * D, i + 1), n, ids, options: {} };
  });
  const names = Object.keys(METHODS);
  const wanted = new Map<string, string>();
  const wantedOf = (head: number, name: string, place: number) => {
    const key = `${head} ${name} ${place}`;
    const known = wanted.get(key);
    if (known !== undefined) return known;
    const bytes = bytesOf(METHODS[name].sync(heads[head], pool[place]));
    wanted.set(key, bytes);
    return bytes;
  };
  const closed = new Set<LMHead>();
  const common = new AbortController();
  const settled: Promise<void>[] = [];
  const later: (() => void)[] = [];
  const pendingOuts: Float32Array[] = [];

  for (let i = 0; i < count; i++) {
    const head = dice.below(heads.length);
    const name = dice.pick(names);
    const place = dice.below(pool.length);
    const method = METHODS[name];
    const bytes = wantedOf(head, name, place);
    const given = pool[place];
    const shared = dice.below(4) === 0;
    const own = { ...given, hidden: copyOf(given.hidden, shared), ids: copyOf(given.ids, shared) };
    const more: Record<string, unknown> = {};
    let mayAbort = false;
    const fate = dice.below(10);
    if (fate < 2) {
      const controller = new AbortController();
      more.signal = controller.signal;
      mayAbort = true;
      if (fate === 0) later.push(() => controller.abort());
      else setTimeout(() => controller.abort(), dice.below(200)).unref();
    } else if (fate === 2) {
      more.signal = common.signal;
      mayAbort = true;
    } else if (fate === 3) {
      more.signal = new AbortController().signal; // never fires
    }
    let out: Float32Array | undefined;
    let outFate = 0;
    if (method.wide && dice.below(3) === 0) {
      outFate = dice.below(4);
      out =
        outFate === 3 && pendingOuts.length > 0
          ? dice.pick(pendingOuts)
          : new Float32Array(given.n * V + dice.below(3));
      more.out = out;
    }
    const callee = heads[head];
    const promise = method.async(callee, own, more);
    if (out && !pendingOuts.includes(out)) pendingOuts.push(out);
    const spoiled = dice.below(3);
    if (spoiled === 1 && !shared) {
      transferAway(own.hidden);
      transferAway(own.ids);
      counts.transferred++;
    } else if (spoiled > 0) {
      own.hidden.fill(1);
      own.ids.fill(1);
      counts.overwritten++;
    }
    const outTaken = out && outFate === 2;
    if (out && outTaken) later.push(() => out.byteLength > 0 && transferAway(out));
    settled.push(
      promise.then(
        result => {
          const length = out ? given.n * V : undefined;
          const got = bytesOf(length === undefined ? result : (result as Float32Array).subarray(0, length));
          // Memory that was transferred away later than the call was done has no bytes to look at.
          if (out && out.byteLength === 0) counts.outGone++;
          else if (got !== bytes) expect.fail(`call ${i}, ${name}: other bits than the synchronous call`);
          else counts.same++;
        },
        (error: LMHeadError) => {
          if (error.code === 'ERR_LMHEAD_ABORTED' && mayAbort) counts.aborted++;
          else if (error.code === 'ERR_LMHEAD_CLOSED' && closed.has(callee)) counts.closed++;
          else if (error.code === 'ERR_LMHEAD_BUSY' && out) counts.outBusy++;
          else if (out && /out: got/.test(error.message)) counts.outGone++;
          else throw error;
        },
      ),
    );
    // Now and then what was put off, and a turn of the event loop.
    if (dice.below(40) === 0) for (const act of later.splice(0, dice.below(later.length + 1))) act();
    if (dice.below(200) === 0) await new Promise(resolve => setImmediate(resolve));
    if (dice.below(500) === 0) pendingOuts.length = 0;
    if (i === Math.floor(count / 2)) common.abort(new Error('all of them'));
    if (i === Math.floor((count * 9) / 10)) {
      closed.add(heads[3]);
      heads[3].close();
      heads[3] = heads[0];
    }
  }
  for (const act of later) act();
  await Promise.all(settled);
  for (const head of heads) head.close();
  return counts;
}
