/**
 * Which kind of head the models of a family have: what their code does that no file says. Sources are the families' model code
 * in Hugging Face's transformers, by `model_type`. docs/model-families.md has the same as a table.
 */

/** Numbers of a config.json by key. Throws where one is wanted and is not there. */
export interface ConfigNumbers {
  number(key: string): number;
  number(key: string, fallback: number): number;
  /** The hidden size, under whichever of its names. */
  readonly hiddenSize: number;
}

export interface Family {
  norm: 'layernorm' | 'rmsnorm';
  /** The config's key for the norm's eps, and the eps where the config has none. */
  eps: readonly [key: string | undefined, fallback: number];
  /** Added to the norm's weight. */
  offset?: 1;
  /** Is the head tied where the config doesn't say? */
  tied: boolean;
  logitScale?: (config: ConfigNumbers) => number;
  embeddingScale?: (config: ConfigNumbers) => number;
  /** Soft-cap where the config doesn't say. */
  softCap?: number;
  /** What of it mlx-lm's converter writes into the weights. */
  inMlx?: 'offset' | 'scales';
  /** The width of the matrix is another than `hidden_size`. */
  ownWidth?: true;
}

const layerNorm = (key: string | undefined, tied: boolean, more: Partial<Family> = {}): Family => ({
  norm: 'layernorm',
  eps: [key, 1e-5],
  tied,
  ...more,
});
const rmsNorm = (tied = false, more: Partial<Family> = {}): Family => ({
  norm: 'rmsnorm',
  eps: ['rms_norm_eps', 1e-6],
  tied,
  ...more,
});

const rootOfSize = (config: ConfigNumbers) => Math.sqrt(config.hiddenSize);
const gemma = rmsNorm(true, { offset: 1, embeddingScale: rootOfSize });
const gemma2 = { ...gemma, softCap: 30 };
const cohere = layerNorm('layer_norm_eps', true, {
  logitScale: config => config.number('logit_scale', 0.0625),
});
const granite = rmsNorm(false, {
  logitScale: config => 1 / config.number('logits_scaling', 1),
  embeddingScale: config => config.number('embedding_multiplier', 1),
});
const qwen3Next = rmsNorm(false, { offset: 1, inMlx: 'offset' });
const miniCpm = rmsNorm(true, {
  logitScale: config => config.number('dim_model_base', config.hiddenSize) / config.hiddenSize,
  embeddingScale: config => config.number('scale_emb', 1),
});

/** By `model_type`. A model of several parts (`text_config`) is known by the type of its text part, or else by its own. */
export const FAMILIES = new Map<string, Family>([
  // LayerNorm
  ['gpt2', layerNorm('layer_norm_epsilon', true)],
  ['gpt_neo', layerNorm('layer_norm_epsilon', true)],
  ['gpt_bigcode', layerNorm('layer_norm_epsilon', true)],
  ['gptj', layerNorm('layer_norm_epsilon', false)],
  ['codegen', layerNorm('layer_norm_epsilon', false)],
  ['gpt_neox', layerNorm('layer_norm_eps', false)],
  ['phi', layerNorm('layer_norm_eps', false)],
  ['opt', layerNorm(undefined, true, { ownWidth: true })],
  ['bloom', layerNorm('layer_norm_epsilon', true)],
  ['falcon', layerNorm('layer_norm_epsilon', true)],
  ['stablelm', layerNorm('layer_norm_eps', false)],
  ['starcoder2', layerNorm('norm_epsilon', true)],
  ['mpt', layerNorm('layer_norm_epsilon', true)],
  ['nemotron', layerNorm('norm_eps', false, { offset: 1 })],
  ['cohere', cohere],
  ['cohere2', cohere],
  // RMSNorm
  ...[
    ...['llama', 'mistral', 'ministral', 'qwen2', 'qwen2_moe', 'qwen2_vl', 'qwen2_vl_text'],
    ...['qwen2_5_vl', 'qwen2_5_vl_text', 'qwen3', 'qwen3_moe', 'qwen3_vl_text', 'qwen3_vl_moe_text'],
    ...['smollm3', 'deepseek_v2', 'deepseek_v3', 'internlm2'],
  ].map(type => [type, rmsNorm()] as const),
  ...['mixtral', 'phi3', 'gpt_oss', 'olmo2', 'olmo3', 'olmoe', 'llama4_text', 'glm4_moe'].map(
    type => [type, rmsNorm(false, { eps: ['rms_norm_eps', 1e-5] })] as const,
  ),
  ...['glm', 'glm4'].map(type => [type, rmsNorm(false, { eps: ['rms_norm_eps', 1.5625e-7] })] as const),
  ['gemma', gemma],
  ['gemma2', gemma2],
  ['gemma3', gemma],
  ['gemma3_text', gemma],
  ['gemma3n_text', { ...gemma2, offset: undefined }],
  ['qwen3_next', qwen3Next],
  ['qwen3_5_text', qwen3Next],
  ['qwen3_5_moe_text', qwen3Next],
  ['qwen3_5', qwen3Next],
  ['qwen3_5_moe', qwen3Next],
  ['granite', granite],
  ['granitemoe', granite],
  ['granitemoeshared', granite],
  ['granitemoehybrid', granite],
  ['minicpm', miniCpm],
  ['minicpm3', miniCpm],
  [
    'falcon_h1',
    rmsNorm(false, {
      inMlx: 'scales',
      logitScale: config => config.number('lm_head_multiplier', 1),
      embeddingScale: config => config.number('embedding_multiplier', 1),
    }),
  ],
  ['mamba', rmsNorm(true, { eps: ['layer_norm_epsilon', 1e-5] })],
  ['mamba2', rmsNorm(false, { eps: ['layer_norm_epsilon', 1e-5] })],
]);
