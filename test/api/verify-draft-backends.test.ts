/** Speculative verification: native and reference accept the same ids, and draw the same token after them. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { rowParameters } from '../../lib/arguments/row-parameters';
import type { LogitsJob } from '../../lib/backend/backend';
import { nativeLogits } from '../../lib/backend/native';
import { referenceLogits } from '../../lib/reference/backend';
import { distributionOf, logProb } from '../../lib/reference/distribution';
import type { SampleOptions } from '../../lib/types';
import { backends } from '../support/backends';
import { draftFrom } from '../support/drafts';
import { someNumbers } from '../support/numbers';

describe.skipIf(backends.length < 2)('verifyDraft: native and reference', () => {
  const rows: [string, (size: number, seed: number) => Float32Array][] = [
    ['plain', (size, seed) => someNumbers(size, seed).map(x => 4 * x)],
    ['peaked', (size, seed) => someNumbers(size, seed).map(x => (x > 0.9 ? 60 * x : 5 * x))],
    ['flat', size => new Float32Array(size).fill(1.25)],
    ['full of ties', (size, seed) => someNumbers(size, seed).map(x => Math.round(2 * x))],
    ['wide', (size, seed) => someNumbers(size, seed).map(x => 1e30 * x)],
    [
      'nearly all -Infinity',
      (size, seed) => someNumbers(size, seed).map((x, i) => (i % 97 === size % 97 ? x : -Infinity)),
    ],
  ];
  const samplings: SampleOptions[] = [
    {},
    { temperature: 0 },
    { temperature: 0.3 },
    { temperature: 1e-30 },
    { temperature: 50 },
    { topK: 1 },
    { topP: 0.8, temperature: 1.4 },
    { minP: 0.1 },
  ];

  it.each(rows)('%s rows: the same tokens on the same logits, always', (_, make) => {
    let tokens = 0;
    const accepted = [0, 0, 0, 0];
    for (const size of [1, 2, 17, 256, 700, 3000]) {
      for (let trial = 0; trial < (size > 500 ? 3 : 20); trial++) {
        const n = 4;
        const u = new Float32Array(n * size);
        const q = new Float32Array((n - 1) * size);
        const ids = new Uint32Array(n - 1);
        for (let row = 0; row < n; row++) {
          const its = make(size, 31 * trial + row);
          if (!its.some(Number.isFinite)) its[size >> 1] = 1;
          u.set(its, row * size);
          if (row === n - 1) continue;
          // A draft that is not far off: drawn from the same logits, a little shaken.
          const shaken = its.map((x, i) => (trial % 3 === 0 ? x : x * (1 + 0.3 * Math.sin(i))));
          const distribution = distributionOf(shaken, size, 1 + (trial % 2));
          q.set(
            shaken.map(x => logProb(distribution, x)),
            row * size,
          );
          const uniform = (someNumbers(1, 7 * trial + row)[0] + 1) / 2;
          ids[row] = draftFrom([...q.subarray(row * size, (row + 1) * size)].map(Math.exp), uniform);
        }
        for (const options of samplings) {
          for (const logProbs of [q, undefined]) {
            const at = {
              ...options,
              topK: Math.min(options.topK as number, size) || 0,
              seed: trial,
              step: 4 * size,
            };
            const job = (): LogitsJob => ({
              n,
              givenLogits: u,
              vocabSize: size,
              rowParameters: rowParameters(at, n, size, 'sample', true),
              draft: {
                ids,
                logProbs,
                accepted: new Uint32Array(1),
                outIds: new Uint32Array(n),
                outLogProbs: new Float32Array(n),
              },
            });
            const [native, reference] = [job(), job()];
            nativeLogits().runLogits(native);
            referenceLogits.runLogits(reference);
            expect(native.draft!.accepted, JSON.stringify(options)).toEqual(reference.draft!.accepted);
            expect(native.draft!.outIds, JSON.stringify(options)).toEqual(reference.draft!.outIds);
            expect(native.draft!.outLogProbs, JSON.stringify(options)).toEqual(reference.draft!.outLogProbs);
            const [count] = native.draft!.accepted;
            accepted[count]++;
            tokens += count + 1;
          }
        }
      }
    }
    console.log(`${tokens} tokens, the same; drafts by length accepted: ${accepted.join(', ')}`);
    expect(Math.min(...accepted)).toBeGreaterThan(0);
  });

  it('more rows than are held at once', () => {
    const size = (3 << 20) + 5; // two rows in 32 MB
    const weight = someNumbers(size, 1);
    const best = 1234567;
    weight[best] = 2;
    const head = LMHead.from(weight, { vocabSize: size, hiddenSize: 1, backend: 'native' });
    const hidden = Float32Array.of(3, 200000, 1, 200000, 5);
    const at = { temperature: [0, 1, 0, 1, 1], seed: 3 };
    const verdict = head.verifyDraftSync(hidden, [best, best, best, best], at);
    expect(verdict.accepted).toBe(4);
    const last = head.verifyDraftSync(hidden.subarray(4), [], { seed: 3, step: 4 });
    expect(verdict.ids[4]).toBe(last.ids[0]);
  });
});
