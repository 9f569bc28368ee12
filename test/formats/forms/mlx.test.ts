/** MLX's quantization, unpacked: affine, and its modes of small floats. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../../lib';
import { backends } from '../../support/backends';
import { throwsKind } from '../../support/errors';
import { temporaryFolder } from '../../support/folders';
import { expectClose, someNumbers } from '../../support/numbers';
import { floats, type TensorSpec } from '../../support/safetensors';
import {
  bitstream,
  codes,
  e4m3,
  expectHead,
  expectTied,
  joined,
  mlx,
  modelWriter,
  rowsOf,
} from '../../support/stored-forms';
import { warningsOf } from '../../support/warnings';

const folder = temporaryFolder();
const model = modelWriter(folder);

describe.each(backends)("MLX's affine quantization, %s", backend => {
  it.each([2, 3, 4, 5, 6, 8].flatMap(bits => [32, 64, 128].map(group => [bits, group] as const)))(
    '%i bits in groups of %i',
    async (bits, group) => {
      const [v, d] = [9, 256];
      for (const dtype of ['BF16', 'F16', 'F32'] as const) {
        const { tensors, weights } = mlx('model.embed_tokens', v, d, bits, group, dtype);
        const config = { model_type: 'qwen3', vocab_size: v, hidden_size: d, tie_word_embeddings: true };
        const path = model(
          tensors,
          { ...config, quantization: { group_size: group, bits } },
          { format: 'mlx' },
        );
        const { result: head, warnings } = await warningsOf(() => LMHead.open(path, { backend }));
        expect(warnings).toEqual([]);
        const inPlace = dtype !== 'F32' && (bits === 4 || bits === 8);
        expect(head.dtype).toBe(inPlace ? `mlx${bits}` : 'f32');
        expectTied(head, weights, d);
        head.close();
      }
    },
  );

  it('untied, each module in a way of its own, with its norm', () => {
    const [v, d] = [7, 128];
    const output = mlx('language_model.lm_head', v, d, 8, 32, 'F16', 10);
    const input = mlx('language_model.model.embed_tokens', v, d, 4, 64, 'F16', 20);
    const norm = someNumbers(d, 5);
    const text = {
      model_type: 'llama',
      vocab_size: v,
      hidden_size: d,
      rms_norm_eps: 1e-5,
      tie_word_embeddings: false,
    };
    const path = model(
      [...output.tensors, ...input.tensors, floats('language_model.model.norm.weight', [d], norm)],
      {
        ...{ model_type: 'llava', text_config: text },
        quantization: {
          group_size: 64,
          bits: 4,
          'language_model.lm_head': { group_size: 32, bits: 8 },
          'vision_tower.x': false,
        },
      },
    );
    const head = LMHead.openSync(path, { backend });
    expectHead(head, output.weights, d);
    expect([head.tied, ...head.embed([3])]).toEqual([
      false,
      ...Float32Array.from(input.weights.subarray(3 * d, 4 * d)),
    ]);
    const h = someNumbers(d, 6);
    const scale = 1 / Math.sqrt(h.reduce((sum, x) => sum + x * x, 0) / d + 1e-5);
    const expected = Array.from({ length: v }, (_, id) =>
      h.reduce((sum, x, k) => sum + x * scale * norm[k] * output.weights[id * d + k], 0),
    );
    expectClose(head.logitsSync(h, { norm: true }), expected, { absolute: 1e-4, relative: 1e-5 });
  });
});

describe("MLX's", () => {
  const [v, d] = [5, 128];
  const e2m1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
  const fp4 = (code: number) => (code & 8 ? -1 : 1) * e2m1[code & 7];
  const words = (module: string, q: number[], bits: number): TensorSpec => ({
    ...{ name: `${module}.weight`, dtype: 'U32', shape: [v, (d * bits) / 32] },
    bytes: joined(rowsOf(q, d).map(row => bitstream(row, bits))),
  });

  it.each([
    ['mxfp4', 4, 32, fp4, (s: number) => 2 ** (s - 127)],
    ['nvfp4', 4, 16, fp4, e4m3],
    ['mxfp8', 8, 32, e4m3, (s: number) => 2 ** (s - 127)],
  ] as const)('mode %s', (mode, bits, group, number, scale) => {
    const q = codes(v * d, bits, 3).map(x => (mode === 'mxfp8' && (x & 127) === 127 ? 0 : x));
    const scales = codes((v * d) / group, 4, 4).map(x => x + 120 - (mode === 'nvfp4' ? 100 : 0));
    const tensors = [
      words('model.embed_tokens', q, bits),
      {
        name: 'model.embed_tokens.scales',
        dtype: 'U8',
        shape: [v, d / group],
        bytes: Uint8Array.from(scales),
      },
    ];
    const config = { model_type: 'llama', hidden_size: d, tie_word_embeddings: true };
    const head = LMHead.openSync(
      model(tensors, { ...config, quantization: { group_size: group, bits, mode } }),
    );
    expectTied(
      head,
      Float64Array.from(q, (x, i) => number(x) * scale(scales[Math.floor(i / group)])),
      d,
    );
    throwsKind(
      () => LMHead.openSync(model(tensors, { ...config, quantization: { mode: 'fp6' } })),
      'DTYPE',
      'fp6',
      'mxfp4',
    );
  });

  it('bits are known by the hidden size too, and else where only some can be', () => {
    const four = mlx('model.embed_tokens', v, d, 4, 64);
    const config = { model_type: 'llama', tie_word_embeddings: true };
    expectTied(LMHead.openSync(model(four.tensors, { ...config, hidden_size: d })), four.weights, d);
    throwsKind(
      () => LMHead.openSync(model(four.tensors)),
      'SHAPE',
      '4 bits in groups of 64 or 8 bits in groups of 32',
      'config.json',
    );
    const five = mlx('model.embed_tokens', v, d, 5, 128);
    expectTied(LMHead.openSync(model(five.tensors)), five.weights, d);
  });

  it('sizes that contradict each other are refused', () => {
    const { tensors } = mlx('model.embed_tokens', v, d, 4, 64);
    const [weight, scales, biases] = tensors;
    const config = { model_type: 'llama', hidden_size: d, tie_word_embeddings: true };
    const open = (list: TensorSpec[], more: object = {}) =>
      LMHead.openSync(model(list, { ...config, ...more }));
    throwsKind(
      () => open(tensors, { quantization: { bits: 8, group_size: 64 } }),
      'SHAPE',
      '8 bits',
      'groups of 64',
    );
    throwsKind(() => open(tensors, { hidden_size: d + 32 }), 'SHAPE', `${d + 32}`);
    throwsKind(
      () => open([weight, { ...scales, shape: [v * 2, 1] }, biases]),
      'SHAPE',
      'embed_tokens.scales',
    );
    throwsKind(
      () => open([weight, scales, { ...biases, shape: [v * 2, 1] }]),
      'SHAPE',
      'embed_tokens.biases',
    );
    throwsKind(() => open([weight, { ...scales, dtype: 'U16' }, biases]), 'SHAPE', 'embed_tokens.scales');
    throwsKind(() => open([{ ...weight, shape: [v * 16] }, scales, biases]), 'SHAPE', 'embed_tokens.weight');
  });
});
