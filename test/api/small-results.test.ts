/** Results of few elements: computed where others have been, and the caller's own all the same. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { backends } from '../support/backends';
import { someNumbers } from '../support/numbers';

const [V, D] = [40, 8];
const weight = someNumbers(V * D, 1);

describe.each(backends)('%s', backend => {
  const head = LMHead.from(weight, { vocabSize: V, hiddenSize: D, backend });
  const states = (n: number, seed: number) => someNumbers(n * D, seed);
  /** All arrays of everything that can be asked for. */
  const all = (n: number, k: number, seed: number) => {
    const hidden = states(n, seed);
    const targets = Uint32Array.from({ length: n }, (_, i) => (seed + 7 * i) % V);
    const { argmax, top, sample, score, logSumExp } = head.runSync(hidden, {
      ...{ argmax: true, top: k, sample: true, seed, targets, entropy: true, topLogProbs: 2 },
    });
    return [
      ...[argmax, top.ids, top.logits, top.logProbs, sample.ids, sample.logProbs, sample.modelLogProbs!],
      ...[score.logProbs, score.ranks, score.entropy!, logSumExp, head.argmaxSync(hidden)],
    ];
  };

  it.each([
    [1, 1],
    [1, 16],
    [1, 17],
    [4, 4],
    [16, 1],
    [17, 1],
  ])('%i hidden states, the %i best: kept through later calls, and in memory of their own', (n, k) => {
    const first = all(n, k, 3);
    const then = first.map(array => array.slice());
    all(n, k, 5);
    all(1, 2, 8);
    first.forEach((array, i) => {
      expect(array).toEqual(then[i]);
      expect([array.byteOffset, array.buffer.byteLength]).toEqual([0, array.byteLength]);
    });
    expect(new Set(first.map(({ buffer }) => buffer)).size).toBe(first.length);
    // As alone.
    for (let i = 0; i < n; i++)
      expect(head.topKSync(states(n, 3).subarray(i * D, (i + 1) * D), k).ids).toEqual(
        first[1].subarray(i * k, (i + 1) * k),
      );
  });
});
