/** A form of the output beside another of the embedding, or beside its own copy. */
import { expect, it } from 'vitest';
import { LMHead } from '../../../lib';
import { throwsKind } from '../../support/errors';
import { temporaryFolder } from '../../support/folders';
import { someNumbers } from '../../support/numbers';
import { floats } from '../../support/safetensors';
import { expectHead, mlx, modelWriter } from '../../support/stored-forms';
import { warningsOf } from '../../support/warnings';

const folder = temporaryFolder();
const model = modelWriter(folder);

it('a quantized embedding keeps no head from opening, and a quantized head no embedding from embedding', () => {
  const [v, d] = [8, 64];
  const plain = someNumbers(v * d, 51);
  const quantized = mlx('model.embed_tokens', v, d, 4, 32);
  const config = {
    model_type: 'llama',
    hidden_size: d,
    tie_word_embeddings: false,
    quantization: { bits: 4, group_size: 32 },
  };
  const head = LMHead.openSync(
    model([...quantized.tensors, floats('lm_head.weight', [v, d], plain)], config),
  );
  expectHead(head, Float64Array.from(plain), d);
  expect([...head.embed([2])]).toEqual([...Float32Array.from(quantized.weights.subarray(2 * d, 3 * d))]);
  const broken = quantized.tensors.map(tensor => ({
    ...tensor,
    name: tensor.name.replace('scales', 'scale_s'),
  }));
  const half = LMHead.openSync(model([...broken, floats('lm_head.weight', [v, d], plain)], config));
  expectHead(half, Float64Array.from(plain), d);
  throwsKind(() => half.embed([2]), 'TENSOR', 'model.embed_tokens');
});

it('tied according to the config, and stored twice in one form: one matrix', async () => {
  const [v, d] = [8, 64];
  const config = {
    model_type: 'llama',
    hidden_size: d,
    tie_word_embeddings: true,
    quantization: { bits: 4, group_size: 32 },
  };
  const [a, b] = [mlx('model.embed_tokens', v, d, 4, 32), mlx('lm_head', v, d, 4, 32)];
  const same = await warningsOf(() => LMHead.open(model([...a.tensors, ...b.tensors], config)));
  expect([same.result.tied, same.warnings]).toEqual([true, []]);
  const c = mlx('lm_head', v, d, 4, 32, 'BF16', 9);
  const other = await warningsOf(() => LMHead.open(model([...a.tensors, ...c.tensors], config)));
  expect([other.result.tied, other.warnings.length]).toEqual([false, 1]);
  expectHead(other.result, c.weights, d);
});
