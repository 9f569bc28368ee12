/** Outputs in forms that are not read: refused by the form's name, wherever they are and whatever lies beside them. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../../lib';
import { throwsKind } from '../../support/errors';
import { temporaryFolder } from '../../support/folders';
import { someNumbers } from '../../support/numbers';
import { floats, safetensors, type TensorSpec } from '../../support/safetensors';
import { warningsOf } from '../../support/warnings';

const [V, D] = [16, 64];
const embedding = floats('model.embed_tokens.weight', [V, D], someNumbers(V * D, 1));
const output = floats('lm_head.weight', [V, D], someNumbers(V * D, 2));
const folder = temporaryFolder();
const llama = { model_type: 'llama', vocab_size: V, hidden_size: D, rms_norm_eps: 1e-5 };
const CONFIGS = [
  { ...llama, tie_word_embeddings: true },
  { ...llama, tie_word_embeddings: false },
  undefined,
];
let count = 0;

function model(tensors: TensorSpec[], config?: object): string {
  const name = `model-${count++}`;
  if (config) folder.file(`${name}/config.json`, JSON.stringify(config));
  folder.file(`${name}/model.safetensors`, safetensors(tensors));
  return folder.path(name);
}

const SIZES: Record<string, number> = { I8: 1, U8: 1, F8_E4M3: 1, F16: 2, I16: 2, BF16: 2, I32: 4, F32: 4 };
function tensor(name: string, dtype: string, ...shape: number[]): TensorSpec {
  const numbers = shape.reduce((a, b) => a * b, 1);
  return { name, dtype, shape, bytes: new Uint8Array(numbers * SIZES[dtype]).fill(1) };
}

/** What each form's tensors are called below the output's name, and what it is called. */
const FORMS: [form: string, ...tensors: [leaf: string, dtype: string, ...shape: number[]][]][] = [
  ['EXL2', ['q_weight', 'I32', 8, V], ['q_scale', 'I32', 1, 2], ['q_invperm', 'I16', D]],
  ['EXL3', ['trellis', 'I16', 4, 1, 16], ['suh', 'F16', D], ['svh', 'F16', V]],
  ['AQLM', ['codes', 'I8', V, 8, 1], ['codebooks', 'F16', 1, 16, 1, 8], ['scales', 'F16', V, 1, 1, 1]],
  ['QuIP#', ['Qidxs', 'I16', V, 8], ['SU', 'F16', D], ['SV', 'F16', V]],
  ['HQQ', ['W_q', 'U8', V, D / 2], ['scale', 'F16', 1, V], ['zero', 'F16', 1, V]],
  ['quanto', ['weight._data', 'I8', V, D], ['weight._scale', 'F32', V, 1]],
  ['VPTQ', ['centroids.weight', 'F16', 1, 16, 8], ['indices', 'I32', 1, V, 2]],
  ['Marlin', ['B', 'I32', 4, 32], ['s', 'F16', 1, V]],
  [
    'bitsandbytes',
    ['weight', 'U8', (V * D) / 2, 1],
    ['weight.absmax', 'F32', V],
    ['weight.quant_map', 'F32', 16],
  ],
  ['NVFP4 (ModelOpt)', ['weight', 'U8', V, D / 2], ['weight_scale_2', 'F32', 1], ['input_scale', 'F32', 1]],
  ['NVFP4', ['weight', 'U8', V, D / 2], ['weight_scale', 'F8_E4M3', V, D / 16]],
  ['MXFP4', ['weight', 'U8', V, D / 2], ['weight_scale', 'U8', V, D / 32]],
  ['compressed-tensors, NVFP4', ['weight_packed', 'U8', V, D / 2], ['weight_scale', 'F8_E4M3', V, D / 16]],
  ['compressed-tensors, MXFP4', ['weight_packed', 'U8', V, D / 2], ['weight_scale', 'U8', V, D / 32]],
  ['compressed-tensors, sparse', ['compressed', 'F32', V, D / 2], ['bitmask', 'U8', V, D / 8]],
  ['MXFP4 in blocks', ['weight_blocks', 'U8', V, 2, 16], ['weight_scales', 'U8', V, 2]],
  ['torchao', ['_weight_qdata', 'I8', V, D], ['_weight_scale', 'F32', V, 1]],
  ['DFloat11', ['encoded_exponent', 'U8', 40], ['sign_mantissa', 'U8', V * D]],
  ['SpQR', ['dense_weights', 'I16', 8], ['row_offsets', 'I32', V + 1]],
  ['weight_norm', ['weight_g', 'F32', V, 1], ['weight_v', 'F32', V, D]],
  ['weight_norm', ['parametrizations.weight.original0', 'F32', V, 1]],
  ['GPTQ or AWQ', ['qweight', 'I32', 8, V]],
  ['a scaled type', ['weight_scale', 'F32', 1]],
  ['LoRA', ['weight', 'F32', V, D], ['lora_a', 'F32', D, 4], ['lora_b', 'F32', 4, V]],
  ['LoRA', ['weight', 'F32', V, D], ['lora_A.default.weight', 'F32', 4, D]],
  ['LoRA', ['base_layer.weight', 'F32', V, D], ['lora_magnitude_vector.default.weight', 'F32', V]],
];
const OUTPUTS = [
  'lm_head',
  'transformer.output_layer',
  'output',
  'model.language_model.lm_head',
  'embed_out',
  'head',
];

describe.each(FORMS)('%s', (form, ...tensors) => {
  it.each(OUTPUTS)('as %s', name => {
    const its = tensors.map(([leaf, ...rest]) => tensor(`${name}.${leaf}`, ...rest));
    for (const config of CONFIGS) {
      throwsKind(() => LMHead.openSync(model([embedding, ...its], config)), 'TENSOR', 'not read', form, name);
    }
  });

  it('in another file than the one that is opened', () => {
    const its = tensors.map(([leaf, ...rest]) => tensor(`lm_head.${leaf}`, ...rest));
    const name = `shards-${count++}`;
    const file = (no: number) => `model-0000${no}-of-00002.safetensors`;
    folder.file(`${name}/${file(1)}`, safetensors([embedding]));
    folder.file(`${name}/${file(2)}`, safetensors(its));
    const refused = () =>
      throwsKind(() => LMHead.openSync(folder.path(`${name}/${file(1)}`)), 'TENSOR', 'not read', form);
    refused(); // without an index, too
    const weight_map = Object.fromEntries([
      [embedding.name, file(1)],
      ...its.map(each => [each.name, file(2)]),
    ]);
    folder.file(`${name}/model.safetensors.index.json`, JSON.stringify({ weight_map }));
    refused();
  });
});

it("gpt-oss's way of joining names", () => {
  const its = [tensor('lm_head_blocks', 'U8', V, 2, 16), tensor('lm_head_scales', 'U8', V, 2)];
  throwsKind(() => LMHead.openSync(model([embedding, ...its], CONFIGS[0])), 'TENSOR', 'MXFP4');
});

it.each([
  ['lm_head.qweight', 'GPTQ'],
  ['lm_head.weight_packed', 'compressed-tensors'],
  ['lm_head.W_q', 'HQQ'],
  ['lm_head.weight._data', 'quanto'],
  ['lm_head.base_layer.weight', 'LoRA'],
  ['base_model.model.lm_head.base_layer.weight', 'LoRA'],
  ['model.language_model.lm_head.qweight', 'GPTQ'],
  ['lm_head.modules_to_save.default.weight', 'PEFT'],
  ['model.embed_tokens.weight_scale', 'FP8'],
  ['lm_head.a_form_of_next_year', 'no name'],
])('is never replaced by the embedding: %s', (name, form) => {
  for (const config of CONFIGS) {
    const path = model([embedding, tensor(name, 'I32', V, 1)], config);
    throwsKind(() => LMHead.openSync(path), 'TENSOR', name, form);
  }
});

it('beside scales is refused, but other modules may have any form', async () => {
  const scale = tensor('lm_head.weight_scale', 'F32', 1);
  const other = tensor('vision.head.weight_scale', 'F32', 1);
  throwsKind(() => LMHead.openSync(model([output, scale])), 'TENSOR', 'FP8');
  const { result: head } = await warningsOf(() => LMHead.open(model([output, embedding, other])));
  expect([head.tied, head.embed([3])]).toEqual([
    false,
    new Float32Array(embedding.bytes.buffer, embedding.bytes.byteOffset + 12 * D, D),
  ]);
});
