import { expect } from 'vitest';
import { LMHead, mergeSamples, mergeScores, mergeTopK } from '../../lib';
import type { OpenOptions } from '../../lib/types';

/** Typed arrays as their bytes, so that every bit counts. */
const bits = (value: object): object =>
  Object.fromEntries(
    Object.entries(value).map(([name, each]) => [
      name,
      ArrayBuffer.isView(each) ? new Uint8Array(each.buffer, each.byteOffset, each.byteLength).slice() : each,
    ]),
  );
export const same = (merged: object, whole: object): void => expect(bits(merged)).toEqual(bits(whole));

/** A head for each of so many shards of a file's vocabulary. */
export function shardsOf(path: string, count: number, options: OpenOptions): LMHead[] {
  return Array.from({ length: count }, (_, index) =>
    LMHead.openSync(path, { ...options, shard: { index, count } }),
  );
}

/** Three hidden states' results of shards, merged, are those of the whole. */
export function expectMerged(heads: readonly LMHead[], whole: LMHead, hidden: Float32Array): void {
  const targets = [0, whole.vocabSize >> 1, whole.vocabSize - 1];
  same(mergeTopK(heads.map(head => head.topKSync(hidden, 7))), whole.topKSync(hidden, 7));
  same(mergeScores(heads.map(head => head.scoreSync(hidden, targets))), whole.scoreSync(hidden, targets));
  const draw = { seed: 1, temperature: 0.9 };
  same(mergeSamples(heads.map(head => head.sampleSync(hidden, draw))), whole.sampleSync(hidden, draw));
}
