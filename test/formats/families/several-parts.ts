/** Models of which the text is one part: beside vision, audio, speech. */
import { D, type Families, llamaNames, rmsNorm, sizes, V } from './family';

export const severalPartsFamilies: Families = {
  'Mistral, in a model of several parts': {
    config: { model_type: 'mistral3', text_config: { model_type: 'mistral', ...sizes, rms_norm_eps: 1e-2 } },
    embedding: 'language_model.model.embed_tokens.weight',
    output: 'language_model.lm_head.weight',
    norm: 'language_model.model.norm.weight',
    normOf: rmsNorm(1e-2),
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
};
