/** compressed-tensors' integers, packed into 32-bit words. */
import { describe, it } from 'vitest';
import { LMHead } from '../../../lib';
import { bytesOf } from '../../support/bytes';
import { throwsKind } from '../../support/errors';
import { temporaryFolder } from '../../support/folders';
import type { TensorSpec } from '../../support/safetensors';
import { codes, expectTied, modelWriter, rowsOf, stored, word } from '../../support/stored-forms';

const folder = temporaryFolder();
const model = modelWriter(folder);

describe("compressed-tensors' packed integers", () => {
  const [v, d] = [12, 64];
  it.each([
    [4, 16, false],
    [4, 64, false],
    [4, 32, true],
    [8, 32, true],
  ] as const)('%i bits, groups of %i, zero points: %s', (bits, group, zeroPoints) => {
    const [groups, per] = [d / group, 32 / bits];
    const q = codes(v * d, bits, 21);
    const z = zeroPoints ? codes(v * groups, bits, 22) : Array<number>(v * groups).fill(2 ** (bits - 1));
    const scales = stored('BF16', v * groups, 23);
    const packed = Uint32Array.from(rowsOf(q, per), each => word(each, bits));
    const tensors: TensorSpec[] = [
      { name: 'lm_head.weight_packed', dtype: 'I32', shape: [v, d / per], bytes: bytesOf(packed) },
      { name: 'lm_head.weight_scale', dtype: 'BF16', shape: [v, groups], bytes: scales.bytes },
      {
        name: 'lm_head.weight_shape',
        dtype: 'I64',
        shape: [2],
        bytes: bytesOf(BigInt64Array.of(BigInt(v), BigInt(d))),
      },
    ];
    if (zeroPoints) {
      // Down the rows: word w of a group has rows w·per and those after it.
      const down = Array.from({ length: Math.ceil(v / per) * groups }, (_, i) => {
        const [w, g] = [Math.floor(i / groups), i % groups];
        return word(
          Array.from({ length: per }, (_, j) => z[(w * per + j) * groups + g] ?? 0),
          bits,
        );
      });
      tensors.push({
        ...{ name: 'lm_head.weight_zero_point', dtype: 'I32', shape: [Math.ceil(v / per), groups] },
        bytes: bytesOf(Uint32Array.from(down)),
      });
    }
    const weights = Float64Array.from(q, (x, i) => {
      const at = Math.floor(i / d) * groups + Math.floor((i % d) / group);
      return (x - z[at]) * scales.values[at];
    });
    const config = { model_type: 'llama', hidden_size: d, tie_word_embeddings: true };
    expectTied(LMHead.openSync(model(tensors, config)), weights, d);
    tensors[2].bytes = bytesOf(BigInt64Array.of(BigInt(v), BigInt(d + 1)));
    throwsKind(() => LMHead.openSync(model(tensors, config)), 'SHAPE', 'weight_shape', `${d + 1}`);
    const order = { name: 'lm_head.weight_g_idx', dtype: 'I32', shape: [d], bytes: new Uint8Array(4 * d) };
    throwsKind(() => LMHead.openSync(model([...tensors, order], config)), 'DTYPE', 'weight_g_idx');
    throwsKind(() => LMHead.openSync(model([tensors[0]], config)), 'TENSOR', 'lm_head.weight_scale');
  });
});
