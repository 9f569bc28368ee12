/** What is beyond float32, or infinite, in whichever form it is stored. */
import { expect, it } from 'vitest';
import { LMHead } from '../../../lib';
import { bytesOf } from '../../support/bytes';
import { throwsKind } from '../../support/errors';
import { temporaryFolder } from '../../support/folders';
import { floats, type TensorSpec } from '../../support/safetensors';
import { modelWriter } from '../../support/stored-forms';

const folder = temporaryFolder();
const model = modelWriter(folder);

it('what comes to more than float32 holds is refused where it is converted', () => {
  const large = (name: string, shape: number[], x: number, n = shape.reduce((a, b) => a * b, 1)) =>
    floats(name, shape, new Float32Array(n).fill(x));
  const config = { model_type: 'llama', hidden_size: 32, tie_word_embeddings: true };
  const words = (count: number) => new Uint8Array(4 * count).fill(0x77);
  const mlx6 = [
    { name: 'lm_head.weight', dtype: 'U32', shape: [2, 6], bytes: words(12) },
    large('lm_head.scales', [2, 1], 2 ** 127),
    large('lm_head.biases', [2, 1], 0),
  ];
  const fp8 = [
    { name: 'lm_head.weight', dtype: 'F8_E4M3', shape: [2, 32], bytes: new Uint8Array(64).fill(0x77) },
    large('lm_head.weight_scale', [1], -(2 ** 127)),
  ];
  const mxfp4 = [
    { name: 'lm_head.weight', dtype: 'U32', shape: [2, 4], bytes: words(8) },
    { name: 'lm_head.scales', dtype: 'U8', shape: [2, 1], bytes: new Uint8Array(2).fill(254) },
  ];
  for (const tensors of [mlx6, fp8, mxfp4]) {
    throwsKind(
      () => LMHead.openSync(model(tensors, config)),
      'RANGE',
      'lm_head.weight',
      'beyond float32 in row 0',
    );
  }
});

it.each<[string, (infinity: number) => TensorSpec[]]>([
  [
    'FP8, as a number',
    infinity => {
      const bytes = new Uint8Array(64).fill(0x3c);
      bytes[32 + 5] = infinity < 0 ? 0xfc : 0x7c;
      return [
        { name: 'lm_head.weight', dtype: 'F8_E5M2', shape: [2, 32], bytes },
        floats('lm_head.weight_scale', [1], Float32Array.of(2)),
      ];
    },
  ],
  ...(['F32', 'F16', 'BF16', 'F64'] as const).map((dtype): [string, (infinity: number) => TensorSpec[]] => [
    `FP8, as a scale in ${dtype}`,
    infinity => {
      const scales = [2, infinity];
      const bytes = {
        F64: () => bytesOf(Float64Array.from(scales)),
        F32: () => bytesOf(Float32Array.from(scales)),
        F16: () => bytesOf(Uint16Array.of(0x4000, infinity < 0 ? 0xfc00 : 0x7c00)),
        BF16: () => bytesOf(Uint16Array.of(0x4000, infinity < 0 ? 0xff80 : 0x7f80)),
      }[dtype]();
      return [
        { name: 'lm_head.weight', dtype: 'F8_E4M3', shape: [2, 32], bytes: new Uint8Array(64).fill(0x38) },
        { name: 'lm_head.weight_scale', dtype, shape: [2], bytes },
      ];
    },
  ]),
])('an infinity that is stored opens, as in a file of floats: %s', (_, tensors) => {
  const config = { model_type: 'llama', hidden_size: 32, tie_word_embeddings: true };
  for (const infinity of [Infinity, -Infinity]) {
    const head = LMHead.openSync(model(tensors(infinity), config));
    expect([head.embed([0])[5], head.embed([1])[5]]).toEqual([2, infinity]);
    head.close();
  }
});
