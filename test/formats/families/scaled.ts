/** Decoders that scale or cap their logits, or scale their embeddings. */
import { D, type Families, gptNames, layerNorm, llamaNames, meanSquare, rmsNorm, sizes, V } from './family';

export const scaledFamilies: Families = {
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
  RecurrentGemma: {
    config: { model_type: 'recurrent_gemma', ...sizes, rms_norm_eps: 1e-2, logits_soft_cap: 3 },
    embedding: 'model.embed_tokens.weight',
    norm: 'model.final_norm.weight',
    normOf: rmsNorm(1e-2, 1),
    logit: dot => 3 * Math.tanh(dot / 3),
    embeds: Math.sqrt(D),
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
  'Command A, mixture of experts': {
    config: { model_type: 'cohere2_moe', ...sizes, rms_norm_eps: 1e-2 },
    ...llamaNames,
    normOf: rmsNorm(1e-2),
    logit: dot => dot / 16,
  },
  nanochat: {
    config: { model_type: 'nanochat', ...sizes, rms_norm_eps: 1e-2, final_logit_softcapping: 3 },
    embedding: 'model.embed_tokens.weight',
    output: 'lm_head.weight',
    normOf: h => Array.from(h, x => x / Math.sqrt(meanSquare(h) + 1e-2)),
    logit: dot => 3 * Math.tanh(dot / 3),
  },
};
