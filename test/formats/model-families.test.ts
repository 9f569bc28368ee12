/** A small folder of each family, by the names and keys that its published models have; and the head's arithmetic by hand. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { FAMILIES } from '../../lib/formats/model-families';
import { backends } from '../support/backends';
import { temporaryFolder } from '../support/folders';
import { expectClose, someNumbers } from '../support/numbers';
import { floats, safetensors } from '../support/safetensors';
import { warningsOf } from '../support/warnings';

const V = 11;
const D = 8;
const hidden = someNumbers(2 * D, 1);
const tensor = {
  output: someNumbers(V * D, 2),
  embedding: someNumbers(V * D, 3),
  bias: someNumbers(V, 4),
  normWeight: someNumbers(D, 5),
  normBias: someNumbers(D, 6),
};
const folder = temporaryFolder();

interface Expected {
  config: object;
  /** Names of the tensors there are. */
  embedding: string;
  output?: string;
  bias?: string;
  norm: string;
  normBias?: string;
  /** What the model's code computes. */
  normOf: (h: Float32Array) => number[];
  logit?: (dot: number) => number;
  embeds?: number;
}

const mean = (h: ArrayLike<number>) => Array.from(h).reduce((sum, x) => sum + x, 0) / h.length;
const meanSquare = (h: ArrayLike<number>) => mean(Array.from(h, x => x * x));
const layerNorm =
  (eps: number, { bias = true, offset = 0 } = {}) =>
  (h: Float32Array) => {
    const m = mean(h);
    const scale = 1 / Math.sqrt(mean(Array.from(h, x => (x - m) ** 2)) + eps);
    return Array.from(
      h,
      (x, k) => (x - m) * scale * (tensor.normWeight[k] + offset) + (bias ? tensor.normBias[k] : 0),
    );
  };
const rmsNorm =
  (eps: number, offset = 0) =>
  (h: Float32Array) => {
    const scale = 1 / Math.sqrt(meanSquare(h) + eps);
    return Array.from(h, (x, k) => x * scale * (tensor.normWeight[k] + offset));
  };

const llamaNames = { embedding: 'model.embed_tokens.weight', norm: 'model.norm.weight' };
const gptNames = {
  embedding: 'transformer.wte.weight',
  norm: 'transformer.ln_f.weight',
  normBias: 'transformer.ln_f.bias',
};
const sizes = { vocab_size: V, hidden_size: D };

const families: Record<string, Expected> = {
  'GPT-2': {
    config: { model_type: 'gpt2', n_embd: D, vocab_size: V, layer_norm_epsilon: 1e-2 },
    embedding: 'wte.weight', // as OpenAI's own file has it
    norm: 'ln_f.weight',
    normBias: 'ln_f.bias',
    normOf: layerNorm(1e-2),
  },
  Llama: {
    config: { model_type: 'llama', ...sizes, rms_norm_eps: 1e-2, tie_word_embeddings: false },
    ...llamaNames,
    output: 'lm_head.weight',
    normOf: rmsNorm(1e-2),
  },
  'Llama, tied': {
    config: { model_type: 'llama', ...sizes, rms_norm_eps: 1e-2, tie_word_embeddings: true },
    ...llamaNames,
    normOf: rmsNorm(1e-2),
  },
  Mistral: {
    config: { model_type: 'mistral', ...sizes, rms_norm_eps: 1e-2, tie_word_embeddings: false },
    ...llamaNames,
    output: 'lm_head.weight',
    normOf: rmsNorm(1e-2),
  },
  'Mistral, in a model of several parts': {
    config: { model_type: 'mistral3', text_config: { model_type: 'mistral', ...sizes, rms_norm_eps: 1e-2 } },
    embedding: 'language_model.model.embed_tokens.weight',
    output: 'language_model.lm_head.weight',
    norm: 'language_model.model.norm.weight',
    normOf: rmsNorm(1e-2),
  },
  Qwen2: {
    config: { model_type: 'qwen2', ...sizes, rms_norm_eps: 1e-2, tie_word_embeddings: true },
    ...llamaNames,
    normOf: rmsNorm(1e-2),
  },
  Qwen3: {
    config: { model_type: 'qwen3', ...sizes, rms_norm_eps: 1e-2, tie_word_embeddings: false },
    ...llamaNames,
    output: 'lm_head.weight',
    normOf: rmsNorm(1e-2),
  },
  'Gemma 1': {
    config: { model_type: 'gemma', ...sizes, rms_norm_eps: 1e-2 },
    ...llamaNames,
    normOf: rmsNorm(1e-2, 1),
    embeds: Math.sqrt(D),
  },
  'Gemma 2': {
    config: { model_type: 'gemma2', ...sizes, rms_norm_eps: 1e-2, final_logit_softcapping: 3 },
    ...llamaNames,
    normOf: rmsNorm(1e-2, 1),
    logit: dot => 3 * Math.tanh(dot / 3),
    embeds: Math.sqrt(D),
  },
  'Gemma 3': {
    config: { model_type: 'gemma3_text', ...sizes, rms_norm_eps: 1e-2, final_logit_softcapping: null },
    ...llamaNames,
    normOf: rmsNorm(1e-2, 1),
    embeds: Math.sqrt(D),
  },
  'Gemma 3 with vision': {
    config: {
      model_type: 'gemma3',
      vision_config: { model_type: 'siglip_vision_model', hidden_size: 999 },
      text_config: { model_type: 'gemma3_text', ...sizes, rms_norm_eps: 1e-2 },
    },
    embedding: 'language_model.model.embed_tokens.weight',
    norm: 'language_model.model.norm.weight',
    normOf: rmsNorm(1e-2, 1),
    embeds: Math.sqrt(D),
  },
  'Phi-2': {
    config: { model_type: 'phi', ...sizes, layer_norm_eps: 1e-2, tie_word_embeddings: false },
    embedding: 'model.embed_tokens.weight',
    output: 'lm_head.weight',
    bias: 'lm_head.bias',
    norm: 'model.final_layernorm.weight',
    normBias: 'model.final_layernorm.bias',
    normOf: layerNorm(1e-2),
  },
  'Phi-3': {
    config: { model_type: 'phi3', ...sizes, rms_norm_eps: 1e-2, tie_word_embeddings: false },
    ...llamaNames,
    output: 'lm_head.weight',
    normOf: rmsNorm(1e-2),
  },
  Cohere: {
    config: { model_type: 'cohere', ...sizes, layer_norm_eps: 1e-2, logit_scale: 0.0625 },
    ...llamaNames,
    normOf: layerNorm(1e-2, { bias: false }),
    logit: dot => dot * 0.0625,
  },
  Granite: {
    config: {
      ...{ model_type: 'granite', ...sizes, rms_norm_eps: 1e-2, tie_word_embeddings: true },
      ...{ logits_scaling: 8, embedding_multiplier: 12 },
    },
    ...llamaNames,
    normOf: rmsNorm(1e-2),
    logit: dot => dot / 8,
    embeds: 12,
  },
  MiniCPM: {
    config: { model_type: 'minicpm', ...sizes, rms_norm_eps: 1e-2, scale_emb: 12, dim_model_base: 2 },
    ...llamaNames,
    normOf: rmsNorm(1e-2),
    logit: dot => dot / (D / 2),
    embeds: 12,
  },
  'GPT-NeoX': {
    config: { model_type: 'gpt_neox', ...sizes, layer_norm_eps: 1e-2, tie_word_embeddings: false },
    embedding: 'gpt_neox.embed_in.weight',
    output: 'embed_out.weight',
    norm: 'gpt_neox.final_layer_norm.weight',
    normBias: 'gpt_neox.final_layer_norm.bias',
    normOf: layerNorm(1e-2),
  },
  'GPT-J': {
    config: {
      model_type: 'gptj',
      n_embd: D,
      vocab_size: V,
      layer_norm_epsilon: 1e-2,
      tie_word_embeddings: false,
    },
    ...gptNames,
    output: 'lm_head.weight',
    bias: 'lm_head.bias',
    normOf: layerNorm(1e-2),
  },
  BLOOM: {
    config: { model_type: 'bloom', ...sizes, layer_norm_epsilon: 1e-2 },
    embedding: 'word_embeddings.weight',
    norm: 'ln_f.weight',
    normBias: 'ln_f.bias',
    normOf: layerNorm(1e-2),
  },
  OPT: {
    config: { model_type: 'opt', ...sizes },
    embedding: 'model.decoder.embed_tokens.weight',
    norm: 'model.decoder.final_layer_norm.weight',
    normBias: 'model.decoder.final_layer_norm.bias',
    normOf: layerNorm(1e-5),
  },
  Nemotron: {
    config: { model_type: 'nemotron', ...sizes, norm_eps: 1e-2, tie_word_embeddings: false },
    ...llamaNames,
    output: 'lm_head.weight',
    normBias: 'model.norm.bias',
    normOf: layerNorm(1e-2, { offset: 1 }),
  },
  'Falcon-H1': {
    config: {
      ...{ model_type: 'falcon_h1', ...sizes, rms_norm_eps: 1e-2, tie_word_embeddings: false },
      ...{ lm_head_multiplier: 0.5, embedding_multiplier: 3 },
    },
    embedding: 'model.embed_tokens.weight',
    output: 'lm_head.weight',
    norm: 'model.final_layernorm.weight',
    normOf: rmsNorm(1e-2),
    logit: dot => dot * 0.5,
    embeds: 3,
  },
  Mamba: {
    config: { model_type: 'mamba', ...sizes, layer_norm_epsilon: 1e-2, time_step_limit: [0, Infinity] },
    embedding: 'backbone.embeddings.weight',
    norm: 'backbone.norm_f.weight',
    normOf: rmsNorm(1e-2),
  },
};

/** As Python writes it: with Infinity, which JSON does not have. */
const pythonJson = (config: object) =>
  JSON.stringify(config, (_, value: unknown) => (value === Infinity ? '∞' : value)).replace(
    '"∞"',
    'Infinity',
  );

function folderOf(name: string, family: Expected): string {
  const tensors = [
    floats('model.layers.0.mlp.weight', [D, D], someNumbers(D * D, 9)),
    floats(family.embedding, [V, D], tensor.embedding),
    floats(family.norm, [D], tensor.normWeight),
  ];
  if (family.output) tensors.push(floats(family.output, [V, D], tensor.output));
  if (family.bias) tensors.push(floats(family.bias, [V], tensor.bias));
  if (family.normBias) tensors.push(floats(family.normBias, [D], tensor.normBias));
  folder.file(join(name, 'config.json'), pythonJson(family.config));
  folder.file(join(name, 'model.safetensors'), safetensors(tensors));
  return folder.path(name);
}

describe.each(Object.entries(families))('%s', (name, family) => {
  it.each(backends)('%s', async backend => {
    const { result: head, warnings } = await warningsOf(() =>
      LMHead.open(folderOf(name, family), { backend }),
    );
    expect(warnings).toEqual([]);
    expect([head.vocabSize, head.hiddenSize, head.tied]).toEqual([V, D, !family.output]);

    const E = family.output ? tensor.output : tensor.embedding;
    const logits = (h: ArrayLike<number>) =>
      Array.from({ length: V }, (_, id) => {
        let dot = family.bias ? tensor.bias[id] : 0;
        for (let k = 0; k < D; k++) dot += h[k] * E[id * D + k];
        return family.logit ? family.logit(dot) : dot;
      });
    const rows = [hidden.subarray(0, D), hidden.subarray(D)];
    const near = { absolute: 1e-6, relative: 2e-6 };
    expectClose(head.logitsSync(hidden), rows.flatMap(logits), near);
    expectClose(
      head.logitsSync(hidden, { norm: true }),
      rows.flatMap(h => logits(family.normOf(h))),
      near,
    );
    const embedded = tensor.embedding.subarray(3 * D, 4 * D).map(x => x * (family.embeds ?? 1));
    expectClose(head.embed([3]), embedded, near);
    head.close();
  });
});

it('docs/model-families.md has every type', () => {
  const text = readFileSync(join(__dirname, '../../docs/model-families.md'), 'utf8');
  const types = [...text.matchAll(/`([a-z0-9_]+)`/g)].map(([, type]) => type);
  for (const type of FAMILIES.keys()) expect(types).toContain(type);
});

it.each([
  ['mixtral', 1e-5],
  ['gpt_oss', 1e-5],
  ['glm4', 1.5625e-7],
  ['llama', 1e-6],
])('%s has an eps of its own where the config has none', (type, eps) => {
  expect(FAMILIES.get(type)?.eps[1]).toBe(eps);
});
