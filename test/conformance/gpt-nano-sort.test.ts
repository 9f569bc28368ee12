import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { backends } from '../support/backends';
import { conformanceJson, describeConformance } from '../support/conformance';
import { expectClose } from '../support/numbers';

interface Tensor {
  shape: number[];
  data: string;
}
const FOLDER = 'gpt-nano-sort';
const V = 3;
const D = 48;

function floats({ shape, data }: Tensor): Float32Array {
  const values = new Float32Array(new Uint8Array(Buffer.from(data, 'base64')).buffer);
  expect(values.length).toBe(shape.reduce((a, b) => a * b, 1));
  return values;
}

describeConformance(FOLDER, 'a trained GPT, untied, with its final LayerNorm', () => {
  describe.each(backends)('%s', backend => {
    const model = conformanceJson<Record<string, Tensor>>(`${FOLDER}/gpt-nano-sort-model.json`);
    const partials = conformanceJson<Record<string, Tensor>>(`${FOLDER}/gpt-nano-sort-t0-partials.json`);
    const head = LMHead.from(floats(model['lm_head.weight']), {
      vocabSize: V,
      hiddenSize: D,
      backend,
      inputEmbedding: floats(model['transformer.wte.weight']),
      norm: {
        type: 'layernorm',
        weight: floats(model['transformer.ln_f.weight']),
        bias: floats(model['transformer.ln_f.bias']),
        eps: 1e-5,
      },
    });
    const beforeNorm = floats(partials.block2);
    const afterNorm = floats(partials.ln_f);

    it('gives the logits and probabilities of the normalized hidden states', () => {
      expectClose(head.logitsSync(afterNorm), floats(partials.lm_head), { absolute: 1e-5, relative: 1e-5 });
      expectClose(head.probsSync(afterNorm), floats(partials.probs), { absolute: 1e-6 });
    });

    it('applies the final norm itself', async () => {
      expectClose(head.logitsSync(beforeNorm, { norm: true }), floats(partials.lm_head), {
        absolute: 2e-5,
        relative: 2e-5,
      });
      expectClose(await head.probs(beforeNorm, { norm: true }), floats(partials.probs), { absolute: 2e-6 });
      // The norm alone, seen through a head that hands its input on.
      const identity = Float32Array.from({ length: D * D }, (_, i) => (i % (D + 1) === 0 ? 1 : 0));
      const lens = LMHead.from(identity, {
        vocabSize: D,
        hiddenSize: D,
        backend,
        norm: {
          type: 'layernorm',
          weight: floats(model['transformer.ln_f.weight']),
          bias: floats(model['transformer.ln_f.bias']),
          eps: 1e-5,
        },
      });
      expectClose(lens.logitsSync(beforeNorm, { norm: true }), afterNorm, { absolute: 2e-6, relative: 2e-6 });
    });

    it('lens: every layer through the final norm and the head; the last one says what the model says', async () => {
      const layers = [partials.x, partials.block0, partials.block1, partials.block2].map(floats);
      const outputs = floats(partials.lm_head);
      const gamma = floats(model['transformer.ln_f.weight']);
      const beta = floats(model['transformer.ln_f.bias']);
      const weight = floats(model['lm_head.weight']);
      for (const position of [0, 10, 21, 32]) {
        const states = layers.map(layer => layer.subarray(position * D, (position + 1) * D));
        const { ids, logits, logProbs, logSumExp } = head.lensSync(
          Float32Array.from(states.flatMap(h => [...h])),
          V,
        );
        states.forEach((h, layer) => {
          const mean = h.reduce((a, b) => a + b) / D;
          const deviation = Math.sqrt(h.reduce((a, b) => a + (b - mean) ** 2, 0) / D + 1e-5);
          const normed = [...h].map((x, k) => ((x - mean) / deviation) * gamma[k] + beta[k]);
          const u = [0, 1, 2].map(id => normed.reduce((sum, x, k) => sum + x * weight[id * D + k], 0));
          const order = [0, 1, 2].sort((a, b) => u[b] - u[a]);
          const at = layer * V;
          const near = { absolute: 3e-5, relative: 3e-5 };
          expect([...ids.subarray(at, at + V)]).toEqual(order);
          expectClose(
            logits.subarray(at, at + V),
            order.map(id => u[id]),
            near,
          );
          const lse = Math.log(u.reduce((sum, x) => sum + Math.exp(x), 0));
          expectClose([logSumExp[layer]], [lse], near);
          expectClose(
            logProbs.subarray(at, at + V),
            order.map(id => u[id] - lse),
            near,
          );
        });
        const said = outputs.subarray(position * V, (position + 1) * V);
        const last = ids.subarray(3 * V, 4 * V);
        expect([...last]).toEqual([0, 1, 2].sort((a, b) => said[b] - said[a]));
        const async = await head.lens(Float32Array.from(states.flatMap(h => [...h])), 1);
        expect([...async.ids]).toEqual([0, 1, 2, 3].map(layer => ids[layer * V]));
      }
    });

    it('is untied: embeds from the other matrix', () => {
      const tokens = floats(partials.idx).length;
      const ids = new Int32Array(new Uint8Array(Buffer.from(partials.idx.data, 'base64')).buffer);
      expect(head.tied).toBe(false);
      expect(head.parameterCount).toBe(2 * V * D + 2 * D);
      expect(ids.length).toBe(tokens);
      // The file says float32 of these, and holds them as such.
      const asFloats = floats(partials.idx);
      expect([...head.embed(asFloats)]).toEqual([...floats(partials.tok_emb)]);
    });
  });
});
