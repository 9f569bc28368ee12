/** A small folder of each family, by the names and keys that its published models have; and the head's arithmetic by hand. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { FAMILIES } from '../../lib/formats/model-families';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
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
  biasShape?: number[];
  norm?: string;
  normBias?: string;
  /** Tensors that a head must not be made of: norms and embeddings of other parts. */
  others?: Record<string, number[]>;
  /** What the model's code computes; absent: it has no norm between the last layer and the head. */
  normOf?: (h: Float32Array) => number[];
  logit?: (dot: number) => number;
  unitRows?: true;
  embeds?: number;
}

const mean = (h: ArrayLike<number>) => Array.from(h).reduce((sum, x) => sum + x, 0) / h.length;
const meanSquare = (h: ArrayLike<number>) => mean(Array.from(h, x => x * x));
const layerNorm =
  (eps: number, { bias = true, offset = 0, weight = true } = {}) =>
  (h: Float32Array) => {
    const m = mean(h);
    const scale = 1 / Math.sqrt(mean(Array.from(h, x => (x - m) ** 2)) + eps);
    return Array.from(
      h,
      (x, k) =>
        (x - m) * scale * ((weight ? tensor.normWeight[k] : 1) + offset) + (bias ? tensor.normBias[k] : 0),
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
  'Falcon Mamba': {
    config: { model_type: 'falcon_mamba', ...sizes, layer_norm_epsilon: 1e-2 },
    embedding: 'backbone.embeddings.weight',
    norm: 'backbone.norm_f.weight',
    normOf: rmsNorm(1e-2),
  },
  'Mamba 2': {
    config: { model_type: 'mamba2', ...sizes, layer_norm_epsilon: 1e-2 },
    embedding: 'backbone.embeddings.weight',
    output: 'lm_head.weight',
    norm: 'backbone.norm_f.weight',
    normOf: rmsNorm(1e-2),
  },
  'Nemotron-H': {
    config: { model_type: 'nemotron_h', ...sizes, layer_norm_epsilon: 1e-2 },
    embedding: 'backbone.embeddings.weight',
    output: 'lm_head.weight',
    norm: 'backbone.norm_f.weight',
    normOf: rmsNorm(1e-2),
  },
  ...Object.fromEntries(
    [
      ...['ministral3', 'kimi_k2', 'glm4', 'glm4_moe', 'glm4_moe_lite', 'minimax_m2', 'seed_oss', 'exaone4'],
      ...['hunyuan_v1_dense', 'mimo', 'PanguEmbedded', 'bitnet'],
    ].map(model_type => [
      model_type,
      {
        config: { model_type, ...sizes, rms_norm_eps: 1e-2 },
        ...llamaNames,
        output: 'lm_head.weight',
        normOf: rmsNorm(1e-2),
      },
    ]),
  ),
  'Qwen3.5': {
    config: {
      ...{ model_type: 'qwen3_5', tie_word_embeddings: true },
      text_config: { model_type: 'qwen3_5_text', ...sizes, rms_norm_eps: 1e-2 },
    },
    embedding: 'model.language_model.embed_tokens.weight',
    norm: 'model.language_model.norm.weight',
    others: { 'model.visual.merger.norm.weight': [D] },
    normOf: rmsNorm(1e-2, 1),
  },
  'Qwen3.5 MoE': {
    config: { model_type: 'qwen3_5_moe_text', ...sizes, rms_norm_eps: 1e-2 },
    ...llamaNames,
    output: 'lm_head.weight',
    normOf: rmsNorm(1e-2, 1),
  },
  'Gemma 4': {
    config: {
      model_type: 'gemma4',
      text_config: { model_type: 'gemma4_text', ...sizes, rms_norm_eps: 1e-2, final_logit_softcapping: 3 },
    },
    embedding: 'model.language_model.embed_tokens.weight',
    norm: 'model.language_model.norm.weight',
    others: { 'model.language_model.embed_tokens_per_layer.weight': [V, 2 * D] },
    normOf: rmsNorm(1e-2),
    logit: dot => 3 * Math.tanh(dot / 3),
    embeds: Math.sqrt(D),
  },
  RecurrentGemma: {
    config: { model_type: 'recurrent_gemma', ...sizes, rms_norm_eps: 1e-2, logits_soft_cap: 3 },
    embedding: 'model.embed_tokens.weight',
    norm: 'model.final_norm.weight',
    normOf: rmsNorm(1e-2, 1),
    logit: dot => 3 * Math.tanh(dot / 3),
    embeds: Math.sqrt(D),
  },
  'Llama 3.2 Vision': {
    config: {
      model_type: 'mllama',
      text_config: {
        model_type: 'mllama_text_model',
        ...sizes,
        rms_norm_eps: 1e-2,
        tie_word_embeddings: false,
      },
    },
    embedding: 'language_model.model.embed_tokens.weight',
    output: 'language_model.lm_head.weight',
    norm: 'language_model.model.norm.weight',
    others: { 'vision_model.layernorm_post.weight': [D] },
    normOf: rmsNorm(1e-2),
  },
  LFM2: {
    config: { model_type: 'lfm2', ...sizes, norm_eps: 1e-2, tie_embedding: true },
    embedding: 'model.embed_tokens.weight',
    norm: 'model.embedding_norm.weight',
    normOf: rmsNorm(1e-2),
  },
  RWKV: {
    config: { model_type: 'rwkv', ...sizes, layer_norm_epsilon: 1e-2 }, // which its last norm does not heed
    embedding: 'rwkv.embeddings.weight',
    output: 'head.weight',
    norm: 'rwkv.ln_out.weight',
    normBias: 'rwkv.ln_out.bias',
    normOf: layerNorm(1e-5),
  },
  ...Object.fromEntries(
    ['t5', 'mt5', 'umt5'].flatMap((model_type): [string, Expected][] => {
      const config = { model_type, vocab_size: V, d_model: D, layer_norm_epsilon: 1e-2 };
      const others = {
        'encoder.embed_tokens.weight': [V, D],
        'encoder.final_layer_norm.weight': [D],
        'decoder.block.0.layer.0.layer_norm.weight': [D],
      };
      const t5 = {
        embedding: 'shared.weight',
        norm: 'decoder.final_layer_norm.weight',
        normOf: rmsNorm(1e-2),
        others,
      };
      return [
        [model_type, { ...t5, config, logit: dot => dot / Math.sqrt(D) }],
        [
          `${model_type}, untied`,
          { ...t5, config: { ...config, tie_word_embeddings: false }, output: 'lm_head.weight' },
        ],
      ];
    }),
  ),
  Whisper: {
    config: { model_type: 'whisper', vocab_size: V, d_model: D },
    embedding: 'model.decoder.embed_tokens.weight',
    norm: 'model.decoder.layer_norm.weight',
    normBias: 'model.decoder.layer_norm.bias',
    others: { 'model.encoder.layer_norm.weight': [D], 'model.encoder.layer_norm.bias': [D] },
    normOf: layerNorm(1e-5),
  },
  Marian: {
    config: { model_type: 'marian', vocab_size: V, d_model: D, scale_embedding: true },
    embedding: 'model.shared.weight',
    bias: 'final_logits_bias',
    biasShape: [1, V],
    others: { 'model.decoder.layers.0.final_layer_norm.weight': [D] },
    embeds: Math.sqrt(D),
  },
  BART: {
    config: { model_type: 'bart', vocab_size: V, d_model: D, scale_embedding: false },
    embedding: 'model.decoder.embed_tokens.weight',
    bias: 'final_logits_bias',
    biasShape: [1, V],
    others: { 'model.decoder.layernorm_embedding.weight': [D], 'model.encoder.embed_tokens.weight': [V, D] },
  },
  BERT: {
    config: { model_type: 'bert', ...sizes, layer_norm_eps: 1e-2 },
    embedding: 'bert.embeddings.word_embeddings.weight',
    bias: 'cls.predictions.bias',
    others: {
      'bert.embeddings.position_embeddings.weight': [5, D],
      'bert.embeddings.LayerNorm.weight': [D],
      'cls.predictions.transform.dense.weight': [D, D],
      'cls.predictions.transform.LayerNorm.weight': [D],
    },
  },
  RoBERTa: {
    config: { model_type: 'roberta', ...sizes, layer_norm_eps: 1e-2 },
    embedding: 'roberta.embeddings.word_embeddings.weight',
    bias: 'lm_head.bias',
    others: {
      'lm_head.dense.weight': [D, D],
      'lm_head.layer_norm.weight': [D],
      'lm_head.layer_norm.bias': [D],
    },
  },
  ModernBERT: {
    config: { model_type: 'modernbert', ...sizes, norm_eps: 1e-2 },
    embedding: 'model.embeddings.tok_embeddings.weight',
    bias: 'decoder.bias',
    others: {
      'model.embeddings.norm.weight': [D],
      'model.final_norm.weight': [D],
      'head.dense.weight': [D, D],
      'head.norm.weight': [D],
    },
  },
  'OLMo 1': {
    config: { model_type: 'olmo', ...sizes },
    embedding: 'model.embed_tokens.weight',
    output: 'lm_head.weight',
    normOf: layerNorm(1e-5, { bias: false, weight: false }),
  },
  'Baichuan 2': {
    config: { model_type: 'baichuan', ...sizes, rms_norm_eps: 1e-2, z_loss_weight: 0 },
    ...llamaNames,
    output: 'lm_head.weight',
    normOf: rmsNorm(1e-2),
    unitRows: true,
  },
  Jamba: {
    config: { model_type: 'jamba', ...sizes, rms_norm_eps: 1e-2 },
    embedding: 'model.embed_tokens.weight',
    output: 'lm_head.weight',
    norm: 'model.final_layernorm.weight',
    normOf: rmsNorm(1e-2),
  },
  'Qwen 1': {
    config: { model_type: 'qwen', ...sizes, layer_norm_epsilon: 1e-2, tie_word_embeddings: false },
    embedding: 'transformer.wte.weight',
    output: 'lm_head.weight',
    norm: 'transformer.ln_f.weight',
    normOf: rmsNorm(1e-2),
  },
  ChatGLM: {
    config: {
      model_type: 'chatglm',
      padded_vocab_size: V,
      hidden_size: D,
      layernorm_epsilon: 1e-2,
      rmsnorm: true,
    },
    embedding: 'transformer.embedding.word_embeddings.weight',
    output: 'transformer.output_layer.weight',
    norm: 'transformer.encoder.final_layernorm.weight',
    normOf: rmsNorm(1e-2),
  },
  'ChatGLM 1': {
    config: { model_type: 'chatglm', ...sizes, layernorm_epsilon: 1e-2, position_encoding_2d: true },
    embedding: 'transformer.word_embeddings.weight',
    output: 'lm_head.weight',
    norm: 'transformer.final_layernorm.weight',
    normBias: 'transformer.final_layernorm.bias',
    normOf: layerNorm(1e-2),
  },
  PhiMoE: {
    config: {
      model_type: 'phimoe',
      ...sizes,
      rms_norm_eps: 1e-2,
      tie_word_embeddings: false,
      lm_head_bias: true,
    },
    ...llamaNames,
    output: 'lm_head.weight',
    bias: 'lm_head.bias',
    normBias: 'model.norm.bias',
    normOf: layerNorm(1e-2),
  },
  Molmo: {
    config: {
      model_type: 'molmo',
      ...sizes,
      layer_norm_eps: 1e-2,
      layer_norm_type: 'rms',
      weight_tying: false,
    },
    embedding: 'model.transformer.wte.embedding',
    output: 'model.transformer.ff_out.weight',
    norm: 'model.transformer.ln_f.weight',
    others: { 'model.transformer.wte.new_embedding': [2, D] },
    normOf: rmsNorm(1e-2),
  },
  SmolVLM: {
    config: {
      ...{ model_type: 'smolvlm', vocab_size: V, tie_word_embeddings: false },
      text_config: { model_type: 'llama', ...sizes, rms_norm_eps: 1e-2 },
    },
    embedding: 'model.text_model.embed_tokens.weight',
    output: 'lm_head.weight',
    norm: 'model.text_model.norm.weight',
    others: { 'model.vision_model.post_layernorm.weight': [D] },
    normOf: rmsNorm(1e-2),
  },
  'Idefics, whose further ids have matrices of their own': {
    config: { model_type: 'idefics', ...sizes, rms_norm_eps: 1e-2, tie_word_embeddings: false },
    embedding: 'model.embed_tokens.weight',
    output: 'lm_head.weight',
    norm: 'model.norm.weight',
    others: {
      'model.embed_tokens.additional_embedding.weight': [2, D],
      'lm_head.additional_fc.weight': [2, D],
    },
    normOf: rmsNorm(1e-2),
  },
  'Idefics 3': {
    config: {
      ...{ model_type: 'idefics3', vocab_size: V, tie_word_embeddings: false },
      text_config: { model_type: 'llama', ...sizes, rms_norm_eps: 1e-2 },
    },
    embedding: 'model.text_model.embed_tokens.weight',
    output: 'lm_head.weight',
    norm: 'model.text_model.norm.weight',
    normOf: rmsNorm(1e-2),
  },
  InternVL: {
    config: {
      ...{ model_type: 'internvl_chat', tie_word_embeddings: false },
      llm_config: { model_type: 'qwen2', ...sizes, rms_norm_eps: 1e-2 },
    },
    embedding: 'language_model.model.embed_tokens.weight',
    output: 'language_model.lm_head.weight',
    norm: 'language_model.model.norm.weight',
    normOf: rmsNorm(1e-2),
  },
  'DeepSeek-VL2': {
    config: {
      model_type: 'deepseek_vl_v2',
      language_config: { model_type: 'deepseek_v2', ...sizes, rms_norm_eps: 1e-2 },
    },
    embedding: 'language.model.embed_tokens.weight',
    output: 'language.lm_head.weight',
    norm: 'language.model.norm.weight',
    others: { 'vision.norm.weight': [D] },
    normOf: rmsNorm(1e-2),
  },
  'DeepSeek-OCR': {
    config: {
      model_type: 'DeepseekOCR',
      language_config: { model_type: 'deepseek_v2', ...sizes, rms_norm_eps: 1e-2 },
    },
    ...llamaNames,
    output: 'lm_head.weight',
    normOf: rmsNorm(1e-2),
  },
  'MiniCPM-V': {
    config: { model_type: 'minicpmv', ...sizes, rms_norm_eps: 1e-2 },
    embedding: 'llm.model.embed_tokens.weight',
    output: 'llm.lm_head.weight',
    norm: 'llm.model.norm.weight',
    others: { 'vpm.post_layernorm.weight': [D], 'resampler.ln_q.weight': [D] },
    normOf: rmsNorm(1e-2),
  },
  'Qwen2.5-Omni': {
    config: {
      model_type: 'qwen2_5_omni',
      talker_config: { model_type: 'qwen2_5_omni_talker', vocab_size: 99, hidden_size: 99 },
      thinker_config: {
        model_type: 'qwen2_5_omni_thinker',
        text_config: {
          model_type: 'qwen2_5_omni_text',
          ...sizes,
          rms_norm_eps: 1e-2,
          tie_word_embeddings: false,
        },
      },
    },
    embedding: 'thinker.model.embed_tokens.weight',
    output: 'thinker.lm_head.weight',
    norm: 'thinker.model.norm.weight',
    others: { 'talker.model.embed_tokens.weight': [V, D], 'talker.model.norm.weight': [D] },
    normOf: rmsNorm(1e-2),
  },
  'Grok-1': {
    config: { model_type: 'grok-1', ...sizes, rms_norm_eps: 1e-2, tie_word_embeddings: false },
    embedding: 'transformer.in_out_embed.weight',
    output: 'lm_head.weight',
    norm: 'transformer.rms_norm.weight',
    normOf: rmsNorm(1e-2),
    logit: dot => dot * 0.5773502691896257,
    embeds: 78.38367176906169,
  },
  'Grok-2': {
    config: {
      ...{ model_type: 'git', architectures: ['Grok1ForCausalLM'], tie_word_embeddings: false },
      ...{ ...sizes, rms_norm_eps: 1e-2, output_multiplier_scale: 0.5, embedding_multiplier_scale: 90.5 },
      final_logit_softcapping: 5,
    },
    ...llamaNames,
    output: 'lm_head.weight',
    normOf: rmsNorm(1e-2),
    logit: dot => 5 * Math.tanh(dot / 2 / 5),
    embeds: 90.5,
  },
  Jais: {
    config: {
      ...{ model_type: 'jais', n_embd: D, vocab_size: V, layer_norm_epsilon: 1e-2 },
      ...{ mup_width_scale: 0.25, mup_output_alpha: 3, mup_embeddings_scale: 14 },
    },
    ...gptNames,
    normOf: layerNorm(1e-2),
    logit: dot => dot * 0.75,
    embeds: 14,
  },
  'Jais, as it was': {
    config: {
      ...{ model_type: 'jais', n_embd: D, vocab_size: V, layer_norm_epsilon: 1e-2 },
      ...{ width_scale: 0.25, embeddings_scale: 14 },
    },
    ...gptNames,
    normOf: layerNorm(1e-2),
    logit: dot => dot * 0.25,
    embeds: 14,
  },
  ...Object.fromEntries(
    ['plamo2', 'minimax_m3_vl_text', 'step3p5'].map(model_type => [
      model_type,
      {
        config: { model_type, ...sizes, rms_norm_eps: 1e-2, tie_word_embeddings: false },
        ...llamaNames,
        output: 'lm_head.weight',
        normOf: rmsNorm(1e-2, 1),
      },
    ]),
  ),
  'T5Gemma 2': {
    config: {
      model_type: 't5gemma2',
      decoder: { model_type: 't5gemma2_decoder', ...sizes, rms_norm_eps: 1e-2 },
    },
    embedding: 'model.decoder.embed_tokens.weight',
    norm: 'model.decoder.norm.weight',
    normOf: rmsNorm(1e-2, 1),
    embeds: Math.sqrt(D),
  },
  'Command A, mixture of experts': {
    config: { model_type: 'cohere2_moe', ...sizes, rms_norm_eps: 1e-2 },
    ...llamaNames,
    normOf: rmsNorm(1e-2),
    logit: dot => dot / 16,
  },
  'Phi of before transformers had it': {
    config: { model_type: 'phi-msft', n_embd: D, vocab_size: V, layer_norm_epsilon: 1e-2 },
    embedding: 'transformer.embd.wte.weight',
    output: 'lm_head.linear.weight',
    bias: 'lm_head.linear.bias',
    norm: 'lm_head.ln.weight',
    normBias: 'lm_head.ln.bias',
    normOf: layerNorm(1e-2),
  },
  'StableLM of before transformers had it': {
    config: { model_type: 'stablelm_epoch', ...sizes, norm_eps: 1e-2 },
    ...llamaNames,
    output: 'lm_head.weight',
    normBias: 'model.norm.bias',
    normOf: layerNorm(1e-2),
  },
  nanochat: {
    config: { model_type: 'nanochat', ...sizes, rms_norm_eps: 1e-2, final_logit_softcapping: 3 },
    embedding: 'model.embed_tokens.weight',
    output: 'lm_head.weight',
    normOf: h => Array.from(h, x => x / Math.sqrt(meanSquare(h) + 1e-2)),
    logit: dot => 3 * Math.tanh(dot / 3),
  },
  ...Object.fromEntries(
    ['module.', '_orig_mod.', 'base_model.model.', 'language_model.', 'module._orig_mod.', 'odd.prefix.'].map(
      prefix => [
        `Llama behind ${prefix}`,
        {
          config: { model_type: 'llama', ...sizes, rms_norm_eps: 1e-2 },
          embedding: `${prefix}model.embed_tokens.weight`,
          output: `${prefix}lm_head.weight`,
          norm: `${prefix}model.norm.weight`,
          normOf: rmsNorm(1e-2),
        },
      ],
    ),
  ),
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
  ];
  for (const [name, shape] of Object.entries(family.others ?? {})) {
    tensors.push(floats(name, shape, new Float32Array(shape.reduce((a, b) => a * b)).fill(77)));
  }
  if (family.norm) tensors.push(floats(family.norm, [D], tensor.normWeight));
  if (family.output) tensors.push(floats(family.output, [V, D], tensor.output));
  if (family.bias) tensors.push(floats(family.bias, family.biasShape ?? [V], tensor.bias));
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
        let dot = 0;
        for (let k = 0; k < D; k++) dot += h[k] * E[id * D + k];
        if (family.unitRows) dot /= Math.hypot(...E.subarray(id * D, (id + 1) * D));
        if (family.bias) dot += tensor.bias[id];
        return family.logit ? family.logit(dot) : dot;
      });
    const rows = [hidden.subarray(0, D), hidden.subarray(D)];
    const near = { absolute: 1e-6, relative: 2e-6 };
    expectClose(head.logitsSync(hidden), rows.flatMap(logits), near);
    const { normOf } = family;
    if (normOf) {
      const expected = rows.flatMap(h => logits(normOf(h)));
      expectClose(head.logitsSync(hidden, { norm: true }), expected, near);
    } else throwsKind(() => head.logitsSync(hidden, { norm: true }), 'RANGE', 'norm');
    const embedded = tensor.embedding.subarray(3 * D, 4 * D).map(x => x * (family.embeds ?? 1));
    expectClose(head.embed([3]), embedded, near);
    head.close();
  });
});

it('docs/model-families.md has every type', () => {
  const text = readFileSync(join(__dirname, '../../docs/model-families.md'), 'utf8');
  const types = [...text.matchAll(/`([\w-]+)`/g)].map(([, type]) => type);
  for (const type of FAMILIES.keys()) expect(types).toContain(type);
});

// As the families' configuration classes have them.
it.each([
  [
    1e-6,
    'llama mistral qwen2 qwen3 seed_oss minimax_m2 deepseek_v3 kimi_k2 smollm3 gemma gemma2 gemma3_text gemma4_text',
  ],
  [1e-6, 'qwen3_next qwen3_5_text granite jamba flex_olmo dots1 recurrent_gemma t5 mt5 umt5 internlm2'],
  [
    1e-5,
    'mixtral phi3 gpt_oss olmo2 olmo3 olmoe llama4_text mllama_text_model glm4_moe glm4_moe_lite ministral3',
  ],
  [
    1e-5,
    'exaone4 hunyuan_v1_dense bitnet falcon_h1 lfm2 nemotron_h mamba falcon_mamba olmo rwkv whisper phimoe',
  ],
  [
    1e-5,
    'qwen2_vl_text qwen2_5_vl_text ernie4_5 minicpm3 gpt2 gpt_neox phi cohere starcoder2 nemotron afmoe',
  ],
  [1.5625e-7, 'glm glm4'],
  [1e-8, 'helium'],
])('eps %f where the config has none: %s', (eps, types) => {
  for (const type of types.split(' ')) {
    const norm = FAMILIES.get(type)?.norm;
    expect([type, typeof norm === 'object' && norm.eps[1]]).toEqual([type, eps]);
  }
});

it.each([
  [
    true,
    'gpt2 gemma gemma2 gemma3_text gemma4_text recurrent_gemma cohere lfm2 mamba t5 bart marian whisper bert',
  ],
  [true, 'smollm3 ernie4_5 zamba2 minicpm3 starcoder2 falcon opt xglm'],
  [
    false,
    'llama qwen3 mistral phi phi3 gpt_neox olmo2 glm4 mamba2 nemotron nemotron_h falcon_h1 granite rwkv',
  ],
])('tied %s where the config has no word on it: %s', (tied, types) => {
  for (const type of types.split(' ')) expect([type, FAMILIES.get(type)?.tied]).toEqual([type, tied]);
});
