/** Ten thousand draws of each stage: the same tokens natively and by the float64 twin, but for logits within their bound. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { nativeUnavailable } from '../../lib/backend/addon';
import { referenceLogits } from '../../lib/reference/backend';
import { boundedLogitOf } from '../../lib/reference/logits';
import { drawFrom } from '../support/given-draws';
import { someNumbers } from '../support/numbers';
import { CASES, expectSameTokens, KINDS, optionsOf } from '../support/stages-at-work';

/** Of each stage. */
const DRAWS = 10_000;

it.skipIf(nativeUnavailable()).each(CASES)('10,000 draws from the same logits: %s', name => {
  const V = 150;
  const each = DRAWS / Object.keys(KINDS).length;
  let draws = 0;
  for (const make of Object.values(KINDS))
    draws += expectSameTokens(make(each, V), V, { ...optionsOf(name), seed: 1 });
  expect(draws).toBe(DRAWS);
});

describe.skipIf(nativeUnavailable())('end to end', () => {
  // Every logit is a small difference of large terms, so that rounding is wide enough to decide some of the draws.
  const [V, d] = [256, 34];
  const wide = (seed: number, rows: number, ends: [number, number]) =>
    someNumbers(rows * d, seed).map((x, i) => (i % d < 2 ? ends[i % d] : 1.3 * x));
  const weight = wide(51, V, [20_000, -20_000]);
  const hidden = wide(52, DRAWS, [1, 1]);
  const shape = { vocabSize: V, hiddenSize: d } as const;
  const native = LMHead.from(weight, shape);
  const [u, twinU] = [native, LMHead.from(weight, { ...shape, backend: 'reference' })].map(head =>
    head.logitsSync(hidden),
  );
  const epilogue = { logitScale: 1, softCap: 0, capOrder: 'scale-then-cap', validVocabSize: V } as const;
  let differ = 0;

  it.each(CASES)('a draw differs from the reference only by logits within their stated bound: %s', name => {
    const options = { ...optionsOf(name), seed: 2 };
    const { ids } = native.sampleSync(hidden, options);
    const wanted = drawFrom(referenceLogits, twinU, V, options, false).sample.ids;
    const rows = [...ids.keys()].filter(row => ids[row] !== wanted[row]);
    for (const row of rows) {
      const h = hidden.subarray(row * d, (row + 1) * d);
      for (let id = 0; id < V; id++) {
        const { logit, bound } = boundedLogitOf(h, weight, id, id, epilogue);
        expect(Math.abs(u[row * V + id] - logit)).toBeLessThanOrEqual(bound);
      }
      // It was these differences that decided, and not the draw: the reference draws the same token from the native logits.
      const [again] = drawFrom(
        referenceLogits,
        u.subarray(row * V, (row + 1) * V),
        V,
        { ...options, step: row },
        false,
      ).sample.ids;
      expect(again).toBe(ids[row]);
    }
    differ += rows.length;
    console.log(
      `${name}: end to end ${rows.length} of ${DRAWS} draws differ, all by logits within their bound`,
    );
    expect(rows.length).toBeLessThan(DRAWS / 200);
  });

  it('some differ, or it would not be known that they may', () => {
    expect(differ).toBeGreaterThan(0);
  });
});
