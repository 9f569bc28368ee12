/** The numbers of docs/the-lm-head.md. */
import { describe, expect, it } from 'vitest';
import { LMHead, logSoftmax, softmax } from '../../lib';
import { backends } from '../support/backends';
import { expectClose } from '../support/numbers';

describe.each(backends)('docs/the-lm-head.md, %s', backend => {
  it('h·Eᵀ by hand', () => {
    const weight = Float32Array.from({ length: 15 }, (_, i) => (i + 1) / 10);
    const head = LMHead.from(weight, { vocabSize: 3, hiddenSize: 5, backend });
    const h = Float32Array.of(0.2, -0.1, 0.5, 0.3, -0.2);
    expectClose(head.logitsSync(h), [0.17, 0.52, 0.87], { absolute: 1e-6 });
    expectClose(head.probsSync(h), [0.226, 0.32, 0.454], { absolute: 5e-4 });
    expectClose(softmax(Float32Array.of(0.17, 0.52, 0.87), 3), head.probsSync(h), { absolute: 1e-6 });
  });

  it('softmax of [0.55, 0.64, 0.73], and that only differences count', () => {
    const u = Float32Array.of(0.55, 0.64, 0.73);
    expectClose(softmax(u, 3), [0.304, 0.332, 0.364], { absolute: 5e-4 });
    expectClose(logSoftmax(u, 3), softmax(u, 3).map(Math.log), { absolute: 1e-6 });
    const large = u.map(x => x + 1000); // e^1000 is no number
    expectClose(softmax(large, 3), softmax(u, 3), { absolute: 1e-4 }); // 1000.55 has fewer digits than 0.55
  });

  it('the join of two parts is the whole', () => {
    const u = [3, -1, 88, 90.5, 2];
    const part = (list: number[]) => {
      const m = Math.max(...list);
      return { m, sum: list.reduce((sum, x) => sum + Math.exp(x - m), 0) };
    };
    const [a, b] = [part(u.slice(0, 2)), part(u.slice(2))];
    const m = Math.max(a.m, b.m);
    const sum = a.sum * Math.exp(a.m - m) + b.sum * Math.exp(b.m - m);
    const head = LMHead.from(Float32Array.from(u), { vocabSize: 5, hiddenSize: 1, backend });
    expectClose(head.runSync(Float32Array.of(1), {}).logSumExp, [m + Math.log(sum)], { relative: 1e-7 });
  });

  it('parameters, tied and untied', () => {
    const [vocabSize, hiddenSize] = [10_000, 512];
    const weight = new Float32Array(vocabSize * hiddenSize);
    weight[7 * hiddenSize + 3] = 2.5;
    const tied = LMHead.from(weight, { vocabSize, hiddenSize, backend });
    expect(tied.parameterCount).toBe(5_120_000);
    expect(tied.tied).toBe(true);
    const untied = LMHead.from(weight, { vocabSize, hiddenSize, inputEmbedding: weight.slice(), backend });
    expect(untied.parameterCount).toBe(10_240_000);
    expect(untied.tied).toBe(false);
    // One matrix at both ends: a basis vector finds in the logits what embed finds in the row.
    const basis = new Float32Array(hiddenSize);
    basis[3] = 1;
    expect(tied.logitsSync(basis)[7]).toBe(2.5);
    expect(tied.embed([7])[3]).toBe(2.5);
  });
});
