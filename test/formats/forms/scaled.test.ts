/** Weights of 8 bits with scales: FP8 and int8. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../../lib';
import { backends } from '../../support/backends';
import { bytesOf } from '../../support/bytes';
import { throwsKind } from '../../support/errors';
import { temporaryFolder } from '../../support/folders';
import { expectClose, someNumbers } from '../../support/numbers';
import { floats, type TensorSpec } from '../../support/safetensors';
import { codes, e4m3, e5m2, expectTied, modelWriter, stored } from '../../support/stored-forms';

const folder = temporaryFolder();
const model = modelWriter(folder);

describe('FP8', () => {
  const [v, d] = [200, 160];
  const q = codes(v * d, 8, 5).map(x => ((x & 0x7c) === 0x7c ? 0 : x)); // nothing that is not finite
  const matrix = (dtype = 'F8_E4M3'): TensorSpec => ({
    name: 'lm_head.weight',
    dtype,
    shape: [v, d],
    bytes: Uint8Array.from(q),
  });
  const open = (tensors: TensorSpec[], config: object = {}) =>
    LMHead.openSync(
      model(tensors, { model_type: 'llama', hidden_size: d, tie_word_embeddings: true, ...config }),
    );

  it.each([
    ['one scale', [], () => 0],
    ['one scale', [1], () => 0],
    ['one for each row', [v], (row: number) => row],
    ['one for each row', [v, 1], (row: number) => row],
    ['one for each block of 128 × 128', [2, 2], (row: number, k: number) => (row >> 7) * 2 + (k >> 7)],
    ['one for each group of a row', [v, 5], (row: number, k: number) => row * 5 + Math.floor(k / 32)],
  ] as [string, number[], (row: number, k: number) => number][])('with %s, %j', (_, shape, at) => {
    for (const [dtype, number] of [
      ['F8_E4M3', e4m3],
      ['F8_E5M2', e5m2],
    ] as const) {
      for (const scaleDtype of ['F32', 'BF16'] as const) {
        const scales = stored(
          scaleDtype,
          shape.reduce((a, b) => a * b, 1),
          6,
        );
        for (let i = 0; i < scales.values.length; i++)
          if (scales.values[i] === 0) throw new Error('a scale of 0');
        const small = dtype === 'F8_E5M2' ? 2 ** -12 : 2 ** -7;
        const weights = Float64Array.from(
          q,
          (x, i) => number(x) * scales.values[at(Math.floor(i / d), i % d)],
        );
        // Of numbers up to 57344 the sums are large: compared as if they were near 1.
        const head = open([
          matrix(dtype),
          { name: 'lm_head.weight_scale', dtype: scaleDtype, shape, bytes: scales.bytes },
        ]);
        expect([...head.embed([v - 1])]).toEqual([...Float32Array.from(weights.subarray((v - 1) * d))]);
        const h = someNumbers(d, 7).map(x => x * small);
        const expected = Array.from({ length: v }, (_, id) =>
          h.reduce((sum, x, k) => sum + x * weights[id * d + k], 0),
        );
        expectClose(head.logitsSync(h), expected, { absolute: 1e-4, relative: 1e-5 });
        head.close();
      }
    }
  });

  it('with inverse scales, in blocks of the size that the config says', () => {
    const scales = stored('F32', 4 * 5, 8);
    const at = (i: number) => Math.floor(i / d / 64) * 5 + Math.floor((i % d) / 32);
    const head = open(
      [matrix(), { name: 'lm_head.weight_scale_inv', dtype: 'F32', shape: [4, 5], bytes: scales.bytes }],
      {
        quantization_config: { quant_method: 'fp8', weight_block_size: [64, 32] },
      },
    );
    const weights = Float64Array.from(q, (x, i) => e4m3(x) * scales.values[at(i)]);
    expect([...head.embed([130])]).toEqual([...Float32Array.from(weights.subarray(130 * d, 131 * d))]);
  });

  it('with scales that are powers of two', () => {
    const scales = Uint8Array.from(codes(4, 3, 9), x => x + 120);
    const head = open([
      matrix(),
      { name: 'lm_head.weight_scale_inv', dtype: 'F8_E8M0', shape: [2, 2], bytes: scales },
    ]);
    const weights = Float64Array.from(
      q,
      (x, i) => e4m3(x) * 2 ** (scales[(Math.floor(i / d) >> 7) * 2 + ((i % d) >> 7)] - 127),
    );
    expect([...head.embed([130])]).toEqual([...Float32Array.from(weights.subarray(130 * d, 131 * d))]);
  });

  it('without a scale is refused', () => {
    throwsKind(() => open([matrix()]), 'DTYPE', 'lm_head.weight', 'F8_E4M3', 'weight_scale');
  });

  it('with scales that fit no part of it is refused', () => {
    for (const shape of [[3], [2, 3, 1], [v, 7], [0]]) {
      const n = shape.reduce((a, b) => a * b, 1);
      const scale = { name: 'lm_head.weight_scale', dtype: 'F32', shape, bytes: new Uint8Array(4 * n) };
      throwsKind(() => open([matrix(), scale]), 'SHAPE', 'lm_head.weight_scale');
    }
    const scale = { name: 'lm_head.weight_scale', dtype: 'I32', shape: [1], bytes: new Uint8Array(4) };
    throwsKind(() => open([matrix(), scale]), 'SHAPE', 'lm_head.weight_scale', 'I32');
  });
});

describe.each(backends)('int8, %s', backend => {
  const [v, d] = [6, 40];
  const q = Int8Array.from(codes(v * d, 8, 11), x => x - 128);
  const weight = { name: 'lm_head.weight', dtype: 'I8', shape: [v, d], bytes: bytesOf(q) };
  const config = { model_type: 'llama', hidden_size: d, tie_word_embeddings: true };

  it.each([
    ['weight_scale', [v, 1], 1],
    ['weight_scale', [v], 1],
    ['weight_scale', [1], 1],
    ['SCB', [v], 127],
  ] as const)('with %s %j', (leaf, shape, divisor) => {
    for (const dtype of ['F32', 'BF16'] as const) {
      const scales = stored(dtype, shape[0], 12);
      const scale = { name: `lm_head.${leaf}`, dtype, shape: [...shape], bytes: scales.bytes };
      const head = LMHead.openSync(model([weight, scale], config), { backend });
      expect(head.dtype).toBe('i8');
      const at = (i: number) => Math.fround(scales.values[shape[0] === 1 ? 0 : Math.floor(i / d)] / divisor);
      expectTied(
        head,
        Float64Array.from(q, (x, i) => x * at(i)),
        d,
      );
      head.close();
    }
  });

  it('without scales, or with zero points, is refused', () => {
    throwsKind(() => LMHead.openSync(model([weight], config), { backend }), 'DTYPE', 'I8');
    const scale = floats('lm_head.weight_scale', [v, 1], someNumbers(v, 1));
    const zero = { name: 'lm_head.weight_zero_point', dtype: 'I8', shape: [v, 1], bytes: new Uint8Array(v) };
    throwsKind(
      () => LMHead.openSync(model([weight, scale, zero], config), { backend }),
      'DTYPE',
      'zero_point',
    );
    const two = floats('lm_head.weight_scale', [2], someNumbers(2, 1));
    throwsKind(
      () => LMHead.openSync(model([weight, two], config), { backend }),
      'SHAPE',
      'lm_head.weight_scale',
    );
  });
});
