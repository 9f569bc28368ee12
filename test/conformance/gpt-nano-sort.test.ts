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

    it('gives the logits and probabilities of the normalised hidden states', () => {
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
