/** The packed columns of GPTQ and AWQ. */
import { describe, it } from 'vitest';
import { LMHead } from '../../../lib';
import { bytesOf } from '../../support/bytes';
import { throwsKind } from '../../support/errors';
import { temporaryFolder } from '../../support/folders';
import { Random } from '../../support/random';
import { safetensors, type TensorSpec } from '../../support/safetensors';
import { codes, expectHead, expectTied, modelWriter, rowsOf, stored, word } from '../../support/stored-forms';

const folder = temporaryFolder();
const model = modelWriter(folder);

describe('GPTQ', () => {
  const [v, d] = [32, 64];
  it.each([
    [4, 16, 'gptq', false, true],
    [4, 64, 'gptq', false, true],
    [4, 16, 'gptq_v2', false, true],
    [4, 16, 'gptq', true, true],
    [4, 16, 'gptq', false, false],
    [8, 32, 'gptq', false, true],
    [2, 32, 'gptq', true, true],
  ] as const)(
    '%i bits, groups of %i, %s, in another order: %s, zero points: %s',
    (bits, group, format, order, zeroPoints) => {
      const [groups, per] = [d / group, 32 / bits];
      const q = codes(d * v, bits, 31); // [d, V]
      const z = zeroPoints ? codes(groups * v, bits, 32) : Array<number>(groups * v).fill(2 ** (bits - 1));
      const scales = stored('F16', groups * v, 33);
      const less = format === 'gptq' && zeroPoints ? 1 : 0;
      const random = new Random(34);
      const of = Array.from({ length: d }, (_, k) => (order ? random.below(groups) : Math.floor(k / group)));
      const qweight = Array.from({ length: (d / per) * v }, (_, i) => {
        const [p, o] = [Math.floor(i / v), i % v];
        return word(
          Array.from({ length: per }, (_, j) => q[(p * per + j) * v + o]),
          bits,
        );
      });
      const tensors: TensorSpec[] = [
        {
          name: 'lm_head.qweight',
          dtype: 'I32',
          shape: [d / per, v],
          bytes: bytesOf(Uint32Array.from(qweight)),
        },
        { name: 'lm_head.scales', dtype: 'F16', shape: [groups, v], bytes: scales.bytes },
      ];
      if (zeroPoints) {
        const packed = Uint32Array.from(rowsOf(z, per), each => word(each, bits));
        tensors.push({
          name: 'lm_head.qzeros',
          dtype: 'I32',
          shape: [groups, v / per],
          bytes: bytesOf(packed),
        });
      }
      if (order)
        tensors.push({
          name: 'lm_head.g_idx',
          dtype: 'I32',
          shape: [d],
          bytes: bytesOf(Int32Array.from(of)),
        });
      const weights = new Float64Array(v * d);
      for (let o = 0; o < v; o++) {
        for (let k = 0; k < d; k++) {
          weights[o * d + k] = (q[k * v + o] - (z[of[k] * v + o] + less)) * scales.values[of[k] * v + o];
        }
      }
      const config = { model_type: 'llama', hidden_size: d, tie_word_embeddings: true };
      const quantization_config = {
        quant_method: 'gptq',
        bits,
        group_size: group,
        checkpoint_format: format,
      };
      expectTied(LMHead.openSync(model(tensors, { ...config, quantization_config })), weights, d);
      const path = model(tensors, config);
      folder.file(
        `${path.slice(folder.path('').length)}/quantize_config.json`,
        JSON.stringify(quantization_config),
      );
      expectTied(LMHead.openSync(path), weights, d);
      if (order) {
        const wrong = { ...tensors[tensors.length - 1], bytes: bytesOf(new Int32Array(d).fill(-1)) };
        const list = [...tensors.slice(0, -1), wrong];
        throwsKind(() => LMHead.openSync(model(list, { ...config, quantization_config })), 'FORMAT', 'g_idx');
      }
    },
  );

  it('of three bits, or with tensors that do not go together, is refused', () => {
    const config = { model_type: 'llama', tie_word_embeddings: true };
    const qweight = { name: 'lm_head.qweight', dtype: 'I32', shape: [6, v], bytes: new Uint8Array(24 * v) };
    const scales = { name: 'lm_head.scales', dtype: 'F16', shape: [1, v], bytes: new Uint8Array(2 * v) };
    const open = (tensors: TensorSpec[], more: object = {}) =>
      LMHead.openSync(model(tensors, { ...config, ...more }));
    throwsKind(() => open([qweight, scales], { quantization_config: { bits: 3 } }), 'DTYPE', '3 bits');
    throwsKind(() => open([qweight, scales], { hidden_size: 40 }), 'DTYPE', 'bits');
    const zeros = { name: 'lm_head.qzeros', dtype: 'I32', shape: [1, 3], bytes: new Uint8Array(12) };
    throwsKind(() => open([qweight, scales, zeros]), 'DTYPE', '3 bits');
    const four = { quantization_config: { bits: 4 } };
    throwsKind(() => open([qweight, scales, zeros], four), 'SHAPE', 'qzeros');
    throwsKind(() => open([qweight, { ...scales, shape: [2, v / 2] }]), 'SHAPE', 'qweight');
    throwsKind(() => open([qweight, { ...scales, shape: [v] }]), 'SHAPE', 'scales');
  });
});

describe('AWQ', () => {
  const [v, d] = [40, 64];
  it.each([16, 64])('in groups of %i', group => {
    const groups = d / group;
    const order = [0, 2, 4, 6, 1, 3, 5, 7];
    const pack = (numbers: readonly number[]) =>
      Uint32Array.from(rowsOf(numbers, 8), eight =>
        word(
          order.map(column => eight[column]),
          4,
        ),
      );
    const q = codes(d * v, 4, 41); // [d, V]
    const z = codes(groups * v, 4, 42);
    const scales = stored('F16', groups * v, 43);
    const tensors: TensorSpec[] = [
      { name: 'lm_head.qweight', dtype: 'I32', shape: [d, v / 8], bytes: bytesOf(pack(q)) },
      { name: 'lm_head.qzeros', dtype: 'I32', shape: [groups, v / 8], bytes: bytesOf(pack(z)) },
      { name: 'lm_head.scales', dtype: 'F16', shape: [groups, v], bytes: scales.bytes },
    ];
    const weights = new Float64Array(v * d);
    for (let o = 0; o < v; o++) {
      for (let k = 0; k < d; k++) {
        const at = Math.floor(k / group) * v + o;
        weights[o * d + k] = (q[k * v + o] - z[at]) * scales.values[at];
      }
    }
    const config = { model_type: 'llama', hidden_size: d, tie_word_embeddings: true };
    const quantization_config = { quant_method: 'awq', bits: 4, group_size: group };
    expectTied(LMHead.openSync(model(tensors, { ...config, quantization_config })), weights, d);
    // By the option, and in shards.
    expectHead(LMHead.openSync(model(tensors), { tensor: 'lm_head.qweight' }), weights, d);
    folder.file('awq/a.safetensors', safetensors(tensors.slice(0, 1)));
    folder.file('awq/b.safetensors', safetensors(tensors.slice(1)));
    const map = Object.fromEntries(
      tensors.map(({ name }, i) => [name, i === 0 ? 'a.safetensors' : 'b.safetensors']),
    );
    folder.file('awq/config.json', JSON.stringify({ ...config, quantization_config }));
    folder.file('awq/model.safetensors.index.json', JSON.stringify({ weight_map: map }));
    expectTied(LMHead.openSync(folder.path('awq')), weights, d);
  });
});
