import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { backends } from '../support/backends';
import { conformanceBytes, conformanceJson, describeConformance } from '../support/conformance';
import { expectClose, someNumbers } from '../support/numbers';

const FOLDER = 'ml5-charrnn';

describeConformance(FOLDER, 'heads with a bias, stored [d,V]', () => {
  describe.each(['shakespeare', 'darwin'])('%s', name => {
    const manifest = conformanceJson<Record<string, { filename: string; shape: number[] }>>(
      `${FOLDER}/${name}/manifest.json`,
    );
    const read = (variable: string) => {
      const { filename, shape } = manifest[variable];
      const values = new Float32Array(conformanceBytes(`${FOLDER}/${name}/${filename}`));
      expect(values.length).toBe(shape.reduce((a, b) => a * b, 1));
      return { values, shape };
    };
    const { values: weight, shape } = read('rnnlm/softmax_w');
    const { values: bias } = read('rnnlm/softmax_b');
    const { values: embedding } = read('embedding');
    const [d, V] = shape;
    const hidden = someNumbers(3 * d, 7);

    it.each(backends)('%s: logits and log-probabilities', backend => {
      const head = LMHead.from(weight, {
        vocabSize: V,
        hiddenSize: d,
        layout: 'dv',
        bias,
        inputEmbedding: embedding,
        backend,
      });
      const expected: number[] = [];
      const logProbs: number[] = [];
      for (let row = 0; row < 3; row++) {
        const u: number[] = [];
        for (let id = 0; id < V; id++) {
          let sum = bias[id];
          for (let k = 0; k < d; k++) sum += hidden[row * d + k] * weight[k * V + id];
          u.push(sum);
        }
        const logSum = Math.log(u.reduce((sum, x) => sum + Math.exp(x), 0));
        expected.push(...u);
        logProbs.push(...u.map(x => x - logSum));
      }
      expectClose(head.logitsSync(hidden), expected, { absolute: 2e-5, relative: 1e-6 });
      expectClose(head.logProbsSync(hidden), logProbs, { absolute: 2e-5, relative: 1e-6 });
      expect(head.tied).toBe(false);
      expect([...head.embed([V - 1])]).toEqual([...embedding.subarray((V - 1) * d)]);
    });
  });
});
