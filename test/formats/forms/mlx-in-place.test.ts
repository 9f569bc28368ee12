/** MLX's affine quantization of 4 and 8 bits, used in place. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../../lib';
import { backends } from '../../support/backends';
import { bytesOf } from '../../support/bytes';
import { throwsKind } from '../../support/errors';
import { temporaryFolder } from '../../support/folders';
import { someNumbers } from '../../support/numbers';
import { safetensors, type TensorSpec } from '../../support/safetensors';
import { bf16, bitstream, expectHead, joined, mlx, modelWriter } from '../../support/stored-forms';

const folder = temporaryFolder();
const model = modelWriter(folder);

describe.each(backends)("MLX's 4 and 8 bits, used in place, %s", backend => {
  const [v, d] = [70, 192];
  const cases = [4, 8].flatMap(bits =>
    (['F16', 'BF16'] as const).flatMap(dtype => [32, 64].map(group => [bits, dtype, group] as const)),
  );
  const config = { model_type: 'qwen3', vocab_size: v, hidden_size: d, tie_word_embeddings: true };

  it.each(cases)(
    '%i bits, %s, groups of %i: every method, as over the numbers that they stand for',
    async (...kind) => {
      const [bits, dtype, group] = kind;
      const { tensors, weights } = mlx('model.embed_tokens', v, d, bits, group, dtype);
      const path = model(tensors, { ...config, quantization: { bits, group_size: group } });
      const same = LMHead.from(Float32Array.from(weights), { vocabSize: v, hiddenSize: d, backend });
      const hidden = someNumbers(6 * d, 3);
      const request = { logits: true, logProbs: true, top: 5, argmax: true, sample: true, seed: 1 } as const;
      const saved = folder.path(`saved-mlx-${kind.join('-')}.safetensors`);
      const mapped = LMHead.openSync(path, { backend });
      await mapped.save(saved);
      const heads = [
        mapped,
        LMHead.openSync(path, { backend, mmap: false }),
        await LMHead.open(path, { backend, mmap: false }),
        LMHead.attach(structuredClone(mapped.handle)),
        LMHead.openSync(saved, { backend }),
        LMHead.attach(LMHead.openSync(path, { backend, mmap: false }).handle),
      ];
      for (const head of heads) {
        expect([head.dtype, head.tied]).toEqual([`mlx${bits}`, true]);
        for (const n of [1, 2, 5, 6]) {
          const some = hidden.subarray(0, n * d);
          expect(head.runSync(some, request)).toEqual(same.runSync(some, request));
        }
        const rows = [3, 5, 8, 40, 69];
        expect(head.logitsSync(hidden, { rows })).toEqual(same.logitsSync(hidden, { rows }));
        expect(head.embed([69, 0])).toEqual(same.embed([69, 0]));
        expect(head.nearestSync(4, 3)).toEqual(same.nearestSync(4, 3));
        expect(await head.verify(hidden)).toMatchObject({ ok: true, argmaxAgrees: true });
        const { head: quantized } = await head.quantize('i8');
        const { head: wanted } = await same.quantize('i8');
        expect(quantized.logitsSync(hidden)).toEqual(wanted.logitsSync(hidden));
      }
    },
  );

  it('near the end of float32: rounded once, whatever a product alone would be', () => {
    const [v, d] = [4, 32];
    // Of the largest scales three times one is beyond float32; with the bias it is not, or is.
    const scales = bf16([2 ** 127, 2 ** 127, -(2 ** 127), 2 ** -133]);
    const biases = bf16([-255 * 2 ** 120, 2 ** 127, 255 * 2 ** 120, 2 ** -133]);
    for (const bits of [4, 8]) {
      const tensors: TensorSpec[] = [
        {
          name: 'lm_head.weight',
          dtype: 'U32',
          shape: [v, (d * bits) / 32],
          bytes: joined(Array.from({ length: v }, () => bitstream(Array(d).fill(3), bits))),
        },
        { name: 'lm_head.scales', dtype: 'BF16', shape: [v, 1], bytes: bytesOf(scales) },
        { name: 'lm_head.biases', dtype: 'BF16', shape: [v, 1], bytes: bytesOf(biases) },
      ];
      const config = {
        model_type: 'llama',
        tie_word_embeddings: true,
        quantization: { bits, group_size: 32 },
      };
      const head = LMHead.openSync(model(tensors, config), { backend });
      const numbers = [0, 1, 2, 3].map(id => head.embed([id])[0]);
      expect(numbers).toEqual([129 * 2 ** 120, Infinity, -129 * 2 ** 120, 4 * 2 ** -133]);
      const hidden = new Float32Array(d);
      hidden[3] = 2 ** -120;
      expect([0, 2].map(id => head.logitsSync(hidden, { rows: [id] })[0])).toEqual([129, -129]);
    }
  });

  it('as an input embedding of more rows, and in files of their own', async () => {
    const output = mlx('lm_head', v, d, 8, 64, 'F16', 10);
    const input = mlx('model.embed_tokens', v + 8, d, 4, 32, 'F16', 20);
    const all = [...output.tensors, ...input.tensors];
    const name = `apart-${backend}`;
    const map: Record<string, string> = {};
    for (const [i, tensor] of all.entries()) {
      map[tensor.name] = `${i}.safetensors`;
      folder.file(`${name}/${i}.safetensors`, safetensors([tensor]));
    }
    folder.file(`${name}/model.safetensors.index.json`, JSON.stringify({ weight_map: map }));
    const quantization = { bits: 8, group_size: 64, 'model.embed_tokens': { bits: 4, group_size: 32 } };
    folder.file(
      `${name}/config.json`,
      JSON.stringify({ ...config, tie_word_embeddings: false, quantization }),
    );
    const head = LMHead.openSync(folder.path(name), { backend });
    const saved = folder.path(`saved-${name}.safetensors`);
    head.saveSync(saved);
    const { head: quantized } = await head.quantize('q8_0');
    for (const each of [head, LMHead.openSync(saved, { backend }), LMHead.attach(head.handle), quantized]) {
      expect([each.tied, each.inputVocabSize]).toEqual([false, v + 8]);
      expect([...each.embed([v + 7])]).toEqual([...Float32Array.from(input.weights.subarray((v + 7) * d))]);
      if (each !== quantized) expectHead(each, output.weights, d);
    }
  });

  it('of a damaged handle is refused', () => {
    const { tensors } = mlx('model.embed_tokens', v, d, 4, 64, 'F16');
    const path = model(tensors, { ...config, quantization: { bits: 4, group_size: 64 } });
    const { handle } = LMHead.openSync(path, { backend, mmap: false });
    type Damaged = { output: { groups?: { size: unknown } } };
    for (const groups of [
      undefined,
      { size: 63 },
      { size: 0 },
      { size: 64, dtype: 'f32' },
      { size: 32, dtype: 'f16' },
    ]) {
      const damaged = structuredClone(handle) as Damaged;
      damaged.output.groups = groups as Damaged['output']['groups'];
      // Native weights are known by themselves: what a handle says of them need only be possible.
      if (backend === 'native' && groups?.size === 32) continue;
      throwsKind(() => LMHead.attach(damaged), 'ARGUMENT', 'handle', 'damaged');
    }
  });

  it('are no dtype of weights in memory', () => {
    const options = { vocabSize: 2, hiddenSize: 64, dtype: 'mlx4' as const, backend };
    throwsKind(() => LMHead.from(new Uint8Array(64), options), 'DTYPE', 'mlx4', 'q8_0');
  });
});
