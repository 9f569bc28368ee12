/** Encoders, and encoders with decoders. */
import { D, type Families, type Family, layerNorm, rmsNorm, sizes, V } from './family';

export const encodersFamilies: Families = {
  ...Object.fromEntries(
    ['t5', 'mt5', 'umt5'].flatMap((model_type): [string, Family][] => {
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
};
