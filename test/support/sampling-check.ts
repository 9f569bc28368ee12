/** One case of sampling on every path through the library, and by the naive chain. */
import { expect } from 'vitest';
import { type Candidates, LMHead, LMHeadError, type Sample, type TopLogProbs } from '../../lib';
import type { LogitsBackend } from '../../lib/backend/backend';
import { nativeLogits } from '../../lib/backend/native';
import { referenceLogits } from '../../lib/reference/backend';
import { backends } from './backends';
import { drawFrom } from './given-draws';
import { type Chosen, choose, type NoToken } from './naive-chain';
import { expectClose, expectSame } from './numbers';
import { type SamplingCase, samplingCase } from './sampling-cases';
import { CODES, type Counts, expectLog } from './sampling-counts';

interface Answer {
  sample: Sample;
  candidates: Candidates;
}

/** @throws where the library and the naive chain differ, with what it takes to see it again */
export function checkCase(seed: number, counts: Counts): void {
  const given = samplingCase(seed);
  const weight = weightOf(given);
  // Logits that are given have no rows to choose among.
  if (!weight) given.rows = undefined;
  counts.cases++;
  try {
    const wanted = given.chains.map((chain, i) => {
      const u = rowOf(given, i);
      // Of the raw distribution no NaN can be banned.
      return given.options.topLogProbs !== undefined && u.some(Number.isNaN) ? 'NaN' : choose(u, chain);
    });
    const { native, reference } = everyWay(given, weight);
    for (const other of native) expectAlike(other, native[0], 0);
    for (const other of native) expectAlike(other, reference, 3e-6);
    compare(given, native[0] ?? reference, wanted, counts);
  } catch (error) {
    const { V, n, options, rows = [], padding } = given;
    (error as Error).message +=
      `\nsampling case ${seed}: V = ${V}, n = ${n}, rows = [${rows}], padding = ${padding}, ${shown(options)}`;
    throw error;
  }
}

function shown(options: object): string {
  const text = JSON.stringify(options, (_, value) => {
    if (typeof value === 'bigint') return `${value}n`;
    if (value instanceof Map) return Object.fromEntries(value);
    return ArrayBuffer.isView(value)
      ? `${value.constructor.name}(${(value as Uint32Array).join(' ')})`
      : value;
  });
  return text.slice(0, 2000);
}

/** A row's logits, −∞ where it is as if the id were not there. */
function rowOf({ V, logits, rows }: SamplingCase, row: number): Float32Array {
  const all = logits.subarray(row * V, (row + 1) * V);
  if (!rows) return all;
  const some = new Float32Array(V).fill(-Infinity);
  for (const id of rows) some[id] = all[id];
  return some;
}

/** What given logits and a head give; or an error's text. */
function everyWay(
  given: SamplingCase,
  weight: Float32Array | undefined,
): { native: (Answer | string)[]; reference: Answer | string } {
  const { V, n, logits, options, rows, padding } = given;
  const { topLogProbs, ...filters } = options;
  const held = (backend: () => LogitsBackend) => () => ({
    sample: drawFrom(backend(), logits, V, options, false).sample,
    candidates: drawFrom(backend(), logits, V, filters).candidates!,
  });
  const hidden = Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
  const headed = (backend: 'native' | 'reference') => () => {
    const sizes = { vocabSize: V + padding, validVocabSize: V, hiddenSize: n };
    const head = LMHead.from(weight!, { ...sizes, backend });
    try {
      return {
        sample: head.sampleSync(hidden, { ...options, rows }),
        candidates: head.candidatesSync(hidden, { ...filters, rows }),
      };
    } finally {
      head.close();
    }
  };
  const natively = [...(rows ? [] : [held(nativeLogits)]), ...(weight ? [headed('native')] : [])];
  return {
    native: backends.includes('native') ? natively.map(attempt) : [],
    reference: attempt(weight ? headed('reference') : held(() => referenceLogits)),
  };
}

function attempt(way: () => Answer): Answer | string {
  try {
    return way();
  } catch (error) {
    if (!(error instanceof LMHeadError)) throw error;
    return `${error.code} ${error.message}`;
  }
}

/** Of a head whose logits are those given, where there is one: products with 0 and 1 have to be exact. */
function weightOf({ V, n, logits, padding }: SamplingCase): Float32Array | undefined {
  if (n > 1 && !logits.every(Number.isFinite)) return undefined;
  if (logits.some(x => x !== 0 && Math.abs(x) < 2 ** -126)) return undefined;
  const weight = new Float32Array((V + padding) * n).fill(1e20);
  for (let row = 0; row < n; row++)
    for (let id = 0; id < V; id++) weight[id * n + row] = logits[row * V + id];
  return weight;
}

/** The same tokens out of the same candidates, and as good as the same logarithms; or the same error. */
function expectAlike(got: Answer | string, wanted: Answer | string, relative: number): void {
  if (typeof got === 'string' || typeof wanted === 'string') {
    expect(got).toEqual(wanted);
    return;
  }
  const absolute = relative && 2 ** -30;
  const pairs = [
    [got.sample.ids, wanted.sample.ids, 0, 0],
    [got.candidates.offsets, wanted.candidates.offsets, 0, 0],
    [got.candidates.ids, wanted.candidates.ids, 0, 0],
    [got.candidates.probs, wanted.candidates.probs, relative, relative && 2 ** -60],
    [got.sample.logProbs, wanted.sample.logProbs, relative, absolute],
    [got.sample.modelLogProbs, wanted.sample.modelLogProbs, relative, absolute],
    [got.sample.topLogProbs?.ids, wanted.sample.topLogProbs?.ids, 0, 0],
    [got.sample.topLogProbs?.logProbs, wanted.sample.topLogProbs?.logProbs, relative, absolute],
    [got.sample.modelTopLogProbs?.ids, wanted.sample.modelTopLogProbs?.ids, 0, 0],
    [got.sample.modelTopLogProbs?.logProbs, wanted.sample.modelTopLogProbs?.logProbs, relative, absolute],
  ] as const;
  for (const [a, b, relative, absolute] of pairs) {
    if (a !== b) expectClose(a!, b!, { relative, absolute });
  }
}

function compare(
  given: SamplingCase,
  got: Answer | string,
  wanted: (Chosen | NoToken)[],
  counts: Counts,
): void {
  const none = wanted.filter(row => typeof row === 'string');
  if (none.length > 0) {
    counts.refused++;
    expect(none.map(why => CODES[why])).toContain(typeof got === 'string' ? got.split(' ')[0] : got);
    return;
  }
  if (typeof got === 'string') expect.fail(`got ${got}; want tokens`);
  for (const [i, row] of wanted.entries()) {
    const chosen = row as Chosen;
    counts.rows++;
    counts.candidates += chosen.ids.length;
    if (chosen.close) counts.close++;
    try {
      compareRow(given, got, i, chosen);
    } catch (error) {
      if (!chosen.close) throw error;
      counts.otherwise++;
    }
  }
}

function compareRow(given: SamplingCase, { sample, candidates }: Answer, row: number, wanted: Chosen): void {
  const [begin, end] = [candidates.offsets[row], candidates.offsets[row + 1]];
  const ids = candidates.ids.subarray(begin, end);
  const same = ids.length === wanted.ids.length && ids.every((id, i) => id === wanted.ids[i]);
  if (!same) expect([...ids], `candidates of row ${row}`).toEqual(wanted.ids);
  for (let i = 0; i < ids.length; i++) {
    const log = wanted.logProbs[i];
    const p = Math.exp(log);
    const tolerance = 3e-6 * p * Math.max(1, Math.abs(log)) + 1e-44;
    if (!(Math.abs(candidates.probs[begin + i] - p) <= tolerance))
      expect.fail(`probability of ${ids[i]} in row ${row}: got ${candidates.probs[begin + i]}, want ${p}`);
  }
  const id = sample.ids[row];
  if (wanted.closeDraw) expect(ids, `token of row ${row}`).toContain(id);
  else expectSame(id, wanted.id, 'token', row);
  expectLog(sample.logProbs[row], wanted.logProbs[ids.indexOf(id)], `token of row ${row}`);
  if (sample.modelLogProbs) compareLists(given, sample, row, wanted);
}

/** What is told beside the token. */
function compareLists(given: SamplingCase, sample: Sample, row: number, wanted: Chosen): void {
  const u = rowOf(given, row);
  const over =
    given.options.over === 'vocabulary' ? given.logits.subarray(row * given.V, (row + 1) * given.V) : u;
  const max = over.reduce((a, b) => Math.max(a, b));
  const logSum = Math.log(over.reduce((sum, x) => sum + Math.exp(x - max), 0));
  // A banned +∞ takes all of the raw distribution.
  const raw = (id: number) => u[id] - max - (max === Infinity ? 0 : logSum);
  expectLog(sample.modelLogProbs![row], raw(sample.ids[row]), `raw token of row ${row}`);
  const all = given.rows ?? [...u.keys()];
  const best = [...all].sort((a, b) => u[b] - u[a] || a - b);
  expectList(sample.topLogProbs!, row, wanted.ids, i => wanted.logProbs[i]);
  expectList(sample.modelTopLogProbs!, row, best, i => raw(best[i]));
  expectSame(sample.topLogProbs!.k, Math.min(given.options.topLogProbs!, all.length), 'k in row', row);
}

function expectList(
  list: TopLogProbs,
  row: number,
  ids: readonly number[],
  logs: (i: number) => number,
): void {
  const { k } = list;
  expectSame(list.counts[row], Math.min(k, ids.length), 'tokens in row', row);
  for (let i = 0; i < k; i++) {
    expectSame(list.ids[row * k + i], ids[i] ?? 2 ** 32 - 1, 'token of row', row);
    expectLog(list.logProbs[row * k + i], i < ids.length ? logs(i) : -Infinity, `index ${i} in row ${row}`);
  }
}
