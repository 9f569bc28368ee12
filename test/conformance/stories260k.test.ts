import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { backends } from '../support/backends';
import { conformanceBytes, conformanceJson, describeConformance } from '../support/conformance';
import { expectClose } from '../support/numbers';

interface Golden {
  lse: number[];
  target_logprob: number[];
  nll_mean: number;
  perplexity: number;
  top10_ids: number[][];
  top10_logits: number[][];
  entropy: number[];
}
const FOLDER = 'stories260K';
const V = 512;
const D = 64;
const N = 200;

describeConformance(FOLDER, 'a trained, weight-tied model of 512 tokens', () => {
  const load = () => {
    const dump = (name: string) => conformanceBytes(`${FOLDER}/ref_greedy200/${name}`);
    return {
      weight: new Float32Array(conformanceBytes(`${FOLDER}/stories260K.bin`), 28, V * D),
      hidden: new Float32Array(dump('dump_h.bin')),
      logits: new Float32Array(dump('dump_logits.bin')),
      next: new Int32Array(dump('dump_next.bin')),
      golden: conformanceJson<Golden>(`${FOLDER}/ref_greedy200/golden_scipy.json`),
    };
  };

  describe.each(backends)('%s', backend => {
    const { weight, hidden, logits, next, golden } = load();
    const head = LMHead.from(weight, { vocabSize: V, hiddenSize: D, backend });

    it('gives the logits of the 200 hidden states', () => {
      expect(hidden.length).toBe(N * D);
      expectClose(head.logitsSync(hidden), logits, { absolute: 2e-5 });
    });

    it('chooses the tokens of the story', () => {
      expect([...head.argmaxSync(hidden)]).toEqual([...next]);
      expect([...head.sampleSync(hidden, { temperature: 0 }).ids]).toEqual([...next]);
    });

    it('scores the story: log-probabilities, ranks, entropy, perplexity 1.605472', () => {
      const score = head.scoreSync(hidden, next, { entropy: true });
      expectClose(score.logProbs, golden.target_logprob, { absolute: 1e-5 });
      expectClose(score.entropy!, golden.entropy, { absolute: 1e-5 });
      expect(new Set(score.ranks)).toEqual(new Set([1]));
      expect(score.count).toBe(N);
      expect(Math.abs(score.perplexity - 1.605472)).toBeLessThan(1e-5);
      expect(Math.abs(score.nll - golden.nll_mean)).toBeLessThan(1e-5);
    });

    it('gives the log-sum-exp and the ten best', () => {
      const top = head.topKSync(hidden, 10);
      expectClose(top.logSumExp, golden.lse, { absolute: 1e-5 });
      expectClose(top.logits, golden.top10_logits.flat(), { absolute: 2e-5 });
      expect([...top.ids]).toEqual(golden.top10_ids.flat());
    });

    it('embeds from the same bytes', () => {
      expect(head.tied).toBe(true);
      expect([...head.embed([403, 0])]).toEqual([
        ...weight.subarray(403 * D, 404 * D),
        ...weight.subarray(0, D),
      ]);
    });

    it('is within its stated bound of float64', async () => {
      const { ok, maxError, bound } = await head.verify(hidden.subarray(0, 20 * D));
      expect(ok).toBe(true);
      expect(maxError).toBeLessThan(bound);
    });
  });
});
