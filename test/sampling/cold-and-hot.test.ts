/** Temperatures so low that a logit over them is no number any more, and so high that all logits are equal over them. */
import { describe, expect, it } from 'vitest';
import type { SampleOptions } from '../../lib';
import { nativeUnavailable } from '../../lib/backend/addon';
import { nativeLogits } from '../../lib/backend/native';
import { referenceLogits } from '../../lib/reference/backend';
import { drawFrom } from '../support/given-draws';

const COLD = [1e-20, 1e-300, 1e-310, Number.MIN_VALUE];
const LARGEST = 2 ** 128 - 2 ** 104;
const DRAWS = 400;
/** Ways to draw that leave all of a cold row that can be drawn at all. */
const WAYS: [name: string, more: SampleOptions][] = [
  ['alone', {}],
  ['after topP', { topP: 0.999 }],
  ['after minP at that temperature', { minP: 0.5, stageOrder: ['temperature', 'minP'] }],
  ['after typicalP at that temperature', { typicalP: 0.9999, stageOrder: ['temperature', 'typicalP'] }],
  ['after topK', { topK: 3 }],
  ['of dynamic temperature', { temperatureRange: Number.MIN_VALUE }],
];
const backends = nativeUnavailable()
  ? [['reference', referenceLogits] as const]
  : [['native', nativeLogits()] as const, ['reference', referenceLogits] as const];

describe.each(backends)('drawing, %s', (_, backend) => {
  /** How often each id is drawn. */
  function counts(row: number[], options: SampleOptions): number[] {
    const logits = Float32Array.from({ length: row.length * DRAWS }, (_, i) => row[i % row.length]);
    const job = drawFrom(backend, logits, row.length, { seed: 8, ...options }, false);
    const found = row.map(() => 0);
    for (const id of job.sample.ids) found[id]++;
    return found;
  }

  it.each(WAYS)('the highest logit %s, by however little it is higher', (_, more) => {
    for (const temperature of COLD)
      for (const row of [
        [1, 3, 2],
        [1e10, 2e10, 1.9e10],
        [-2e10, -1e10, -3e10],
        [-LARGEST, LARGEST, 2 ** 127],
        [-LARGEST, -(2 ** 127), -Infinity],
        [1, 1 + 2 ** -23, -1],
        temperature < 1e-100 ? [0, 2 ** -149, -(2 ** -149)] : [0, 1, 0.5],
      ])
        expect(counts(row, { temperature, ...more }), `${temperature}: ${row}`).toEqual([0, DRAWS, 0]);
  });

  it.each(WAYS)('equal ones equally often %s', (_, more) => {
    for (const temperature of COLD)
      for (const high of [0, 5, 1e10, LARGEST, -5, -1e10, 2 ** -149]) {
        const [first, none, second] = counts([high, -LARGEST, high], { temperature, ...more });
        expect(none).toBe(0);
        expect(first + second).toBe(DRAWS);
        // 6 standard deviations
        expect(Math.abs(first - second), `${temperature}: ${high}`).toBeLessThan(6 * Math.sqrt(DRAWS));
      }
  });

  it('every id equally often at the highest', () => {
    const found = counts([-LARGEST, 0, LARGEST, 1], { temperature: Number.MAX_VALUE });
    for (const count of found) expect(Math.abs(count - DRAWS / 4)).toBeLessThan(6 * Math.sqrt(DRAWS / 4));
  });
});

it.skipIf(nativeUnavailable())('native and reference draw the same, of a few and of many ids', () => {
  for (const V of [3, 3000])
    for (const temperature of [...COLD, 1e-4, 1e300, Number.MAX_VALUE])
      for (const scale of [1, 1e10, 1e-40]) {
        const logits = Float32Array.from(
          { length: V < 100 ? 20 * V : 2 * V },
          (_, i) => scale * Math.round(3 * Math.sin(i * i)),
        );
        for (const [, more] of WAYS) {
          const options = { seed: 5, temperature, ...more };
          const native = drawFrom(nativeLogits(), logits, V, options, false);
          const twin = drawFrom(referenceLogits, logits, V, options, false);
          expect(native.sample.ids, `${V} ${temperature} ${scale}`).toEqual(twin.sample.ids);
        }
      }
});
