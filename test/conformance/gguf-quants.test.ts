import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { dequantize } from '../../lib/dtypes/dequantize';
import { type BlockDtype, rowBytes } from '../../lib/dtypes/row-format';
import { boundedLogitOf } from '../../lib/reference/logits';
import { backends } from '../support/backends';
import { conformanceBytes, describeConformance } from '../support/conformance';

const FOLDER = 'gguf/quants';
const FILES: [name: string, dtype: BlockDtype, V: number, d: number][] = [
  ['q8_0', 'q8_0', 512, 64],
  ['q4_0', 'q4_0', 512, 64],
  ['q4_K', 'q4_k', 128, 256],
  ['q6_K', 'q6_k', 128, 256],
];

describeConformance(FOLDER, 'an embedding that ggml has quantized', () => {
  describe.each(FILES)('%s', (name, dtype, V, d) => {
    // The one tensor of each file ends it.
    const bytes = new Uint8Array(conformanceBytes(`${FOLDER}/${name}.gguf`)).slice(-V * rowBytes(dtype, d));
    const wanted = new Float32Array(conformanceBytes(`${FOLDER}/${name}.deq.f32`));

    it('dequantizes to the values that ggml has', () => {
      expect(dequantize(bytes, dtype, d)).toEqual(wanted);
    });

    it.each(backends)('%s: embed gives them', backend => {
      const head = LMHead.from(bytes, { vocabSize: V, hiddenSize: d, dtype, backend });
      expect(head.dtype).toBe(dtype);
      expect(head.embed(Uint32Array.from({ length: V }, (_, id) => id))).toEqual(wanted);
    });

    it.skipIf(d !== 64).each(backends)('%s: the logits of 20 hidden states, exact in float64', backend => {
      const logits = new Float64Array(conformanceBytes(`${FOLDER}/${name}.logits20.f64`));
      const hidden = new Float32Array(
        conformanceBytes('stories260K/ref_greedy200/dump_h.bin').slice(0, 20 * d * 4),
      );
      const head = LMHead.from(bytes, { vocabSize: V, hiddenSize: d, dtype, backend });
      const got = head.logitsSync(hidden);
      const epilogue = {
        logitScale: 1,
        softCap: 0,
        capOrder: 'scale-then-cap',
        validVocabSize: V,
      } as const;
      expect(logits.length).toBe(20 * V);
      for (let i = 0; i < got.length; i++) {
        const h = hidden.subarray(Math.floor(i / V) * d, (Math.floor(i / V) + 1) * d);
        const { bound } = boundedLogitOf(h, wanted, i % V, i % V, epilogue);
        expect(Math.abs(got[i] - logits[i])).toBeLessThanOrEqual(bound);
      }
    });
  });
});
