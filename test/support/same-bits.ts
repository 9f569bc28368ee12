/** What holds of a head's logits however they are asked for. */
import { expect } from 'vitest';
import type { LMHead } from '../../lib';

/**
 * Logits have the same bits alone and in any batch, from both forms of the method, and of a few rows.
 * @param hidden [23,d]
 * @param u their logits, of 61 rows at least
 */
export async function expectSameBits(head: LMHead, hidden: Float32Array, u: Float32Array): Promise<void> {
  const { vocabSize: V, hiddenSize: d } = head;
  const n = hidden.length / d;
  expect(await head.logits(hidden)).toEqual(u);
  for (const [first, count] of [
    [0, 1],
    [5, 2],
    [7, 5],
    [3, 20],
  ])
    expect(head.logitsSync(hidden.subarray(first * d, (first + count) * d))).toEqual(
      u.slice(first * V, (first + count) * V),
    );
  const rows = [60, 3, 17, 4];
  expect(head.logitsSync(hidden, { rows })).toEqual(
    Float32Array.from({ length: n * 4 }, (_, i) => u[(i >> 2) * V + rows[i & 3]]),
  );
}
