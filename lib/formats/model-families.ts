/**
 * Which kind of head the models of a family have: what their code does that no file says.
 *
 * Sources, by `model_type`: configuration_*.py (defaults) and modeling_*.py (norm, logits) of the family in Hugging Face's
 * transformers 5; of families marked [remote], the files of these names in the models' own repositories. What mlx-lm's
 * converter does with the weights: `sanitize` in mlx_lm/models. docs/model-families.md has all of it as a table.
 */

/** Members of a config.json by key. Those with a wish throw where it is not met. */
export interface ConfigMembers {
  number(key: string): number;
  number(key: string, fallback: number): number;
  flag(key: string): boolean | undefined;
  text(key: string): string | undefined;
  has(key: string): boolean;
  /** The hidden size, under whichever of its names. */
  readonly hiddenSize: number;
}

/** A final norm, whose vectors are in the file. */
export interface NormRule {
  type: 'layernorm' | 'rmsnorm';
  /** The config's key for its eps, and the eps where the config has none. */
  eps: readonly [key: string | undefined, fallback: number];
  /** Added to its weight. */
  offset?: 1;
  /** It has no weight, which is as one of ones. */
  weightless?: true;
}

export interface Family {
  /** Absent: what reaches the head comes from a norm or a transform that is a part of the model's last layer. */
  norm?: NormRule | ((config: ConfigMembers) => NormRule);
  /** Is the head tied where the config doesn't say? */
  tied: boolean;
  logitScale?: (config: ConfigMembers) => number;
  embeddingScale?: (config: ConfigMembers) => number;
  /** The config's key of the soft-cap, if it isn't the usual one, and the cap where the config doesn't say. */
  softCap?: { key?: string; fallback?: number };
  /** Are the rows of the output brought to length 1? */
  unitRows?: (config: ConfigMembers) => boolean;
  /** What of it mlx-lm's converter writes into the weights. */
  inMlx?: 'offset' | 'scales' | 'unitRows';
  /** The width of the matrix is another than `hidden_size`. */
  ownWidth?: true;
  /** The tokenizer does not have all ids that the model predicts. */
  beyondTokenizer?: true;
}

const TIED = true;
const UNTIED = false;

const layerNorm = (key: string | undefined, tied: boolean, more: Partial<Family> = {}): Family => ({
  norm: { type: 'layernorm', eps: [key, 1e-5] },
  tied,
  ...more,
});
const rmsNorm = (
  tied: boolean,
  eps: number,
  more: Partial<Family> & { key?: string; offset?: 1 } = {},
): Family => {
  const { key = 'rms_norm_eps', offset, ...rest } = more;
  return { norm: { type: 'rmsnorm', eps: [key, eps], offset }, tied, ...rest };
};
const each = (family: Family, types: string): [string, Family][] =>
  types
    .trim()
    .split(/\s+/)
    .map(type => [type, family]);

const rootOfSize = (config: ConfigMembers) => Math.sqrt(config.hiddenSize);
const rootOfSizeIf = (key: string, fallback: boolean) => (config: ConfigMembers) =>
  (config.flag(key) ?? fallback) ? rootOfSize(config) : 1;
const multiplier = (key: string) => (config: ConfigMembers) => config.number(key, 1);
const divisor = (key: string) => (config: ConfigMembers) => 1 / config.number(key, 1);

const scaledIfSaid = { embeddingScale: rootOfSizeIf('scale_embedding', false) };
const scaledUnlessDenied = { embeddingScale: rootOfSizeIf('scale_embedding', true) };
const granite = { logitScale: divisor('logits_scaling'), embeddingScale: multiplier('embedding_multiplier') };
const miniCpm = (base: (config: ConfigMembers) => number, scale: number): Partial<Family> => ({
  logitScale: config => config.number('dim_model_base', base(config)) / config.hiddenSize,
  embeddingScale: config => config.number('scale_emb', scale),
});
const gemma = { offset: 1 as const, embeddingScale: rootOfSize };
const cohereLogits = { logitScale: (config: ConfigMembers) => config.number('logit_scale', 0.0625) };

/** By `model_type`. A model of several parts is known by the type of its text part, or else by its own. */
export const FAMILIES = new Map<string, Family>([
  // ---- RMSNorm over rms_norm_eps, as Llama has it; the defaults of eps and tie differ
  ...each(
    rmsNorm(UNTIED, 1e-6),
    `llama mistral ministral mistral4 qwen2 qwen2_moe qwen3 qwen3_moe qwen3_vl_text qwen3_omni_moe_text deepseek
     deepseek_v2 deepseek_v3 deepseek_v32 deepseek_v4 deepseek_ocr2_text kimi_k2 jamba seed_oss minimax_m2 dots1
     flex_olmo olmo_hybrid internlm internlm2 internlm3 mimo mellum idefics aria_text xverse Yi axk1 axk2 laguna doge
     plamo`,
  ),
  ...each(
    rmsNorm(UNTIED, 1e-5),
    `mixtral ministral3 phi3 gpt_oss olmo2 olmo3 olmoe llama4_text mllama_text_model glm4_moe glm4_moe_lite glm_moe_dsa
     glm4v_text glm4v_moe_text exaone4 exaone_moe hunyuan_v1_dense hunyuan_v1_moe bitnet minimax kimi_linear
     longcat_flash mimo_v2_flash arcee apertus bamba diffllama cwm solar_open chameleon emu3_text_model PanguEmbedded
     qwen2_vl qwen2_vl_text qwen2_5_vl qwen2_5_vl_text hy_v3 hy_v4 glm_ocr_text glm5_next_text phi4_multimodal phi4mm
     nemotron-nas`,
  ),
  ...each(rmsNorm(UNTIED, 1.5625e-7), 'glm glm4'),
  ['helium', rmsNorm(UNTIED, 1e-8)],
  ...each(rmsNorm(TIED, 1e-6), 'smollm3 youtu jetmoe qwen3_vl_moe_text qwen2_5_omni_text'),
  ...each(
    rmsNorm(TIED, 1e-5),
    `ernie4_5 ernie4_5_moe ernie4_5_vl_moe_text hunyuan_vl_text zamba zamba2 paddleocr_vl_text zaya`,
  ),

  // ---- RMSNorm under another key
  ...each(rmsNorm(TIED, 1e-5, { key: 'norm_eps' }), 'lfm2 lfm2_moe'),
  ['qwen', rmsNorm(UNTIED, 1e-6, { key: 'layer_norm_epsilon' })],
  ['exaone', rmsNorm(UNTIED, 1e-5, { key: 'layer_norm_epsilon' })],
  ['telechat', rmsNorm(UNTIED, 1e-5, { key: 'layer_norm_epsilon' })],
  ...each(rmsNorm(TIED, 1e-5, { key: 'layer_norm_epsilon' }), 'mamba falcon_mamba'),
  ...each(rmsNorm(UNTIED, 1e-5, { key: 'layer_norm_epsilon' }), 'mamba2 nemotron_h'),
  ['openelm', { norm: { type: 'rmsnorm', eps: [undefined, 1e-6] }, tied: TIED }],
  [
    'xlstm',
    rmsNorm(UNTIED, 1e-6, { key: 'norm_eps', softCap: { key: 'output_logit_soft_cap', fallback: 30 } }),
  ],

  // ---- RMSNorm with more around it
  ['gemma', rmsNorm(TIED, 1e-6, gemma)],
  ...each(rmsNorm(TIED, 1e-6, gemma), 'gemma3 gemma3_text t5gemma2_text t5gemma2_decoder'),
  ...each(rmsNorm(TIED, 1e-6, { ...gemma, softCap: { fallback: 30 } }), 'gemma2 vaultgemma t5_gemma_module'),
  ['recurrent_gemma', rmsNorm(TIED, 1e-6, { ...gemma, softCap: { key: 'logits_soft_cap', fallback: 30 } })],
  ...each(
    rmsNorm(TIED, 1e-6, { embeddingScale: rootOfSize, softCap: { fallback: 30 } }),
    'gemma3n_text diffusion_gemma_text',
  ),
  ...each(rmsNorm(TIED, 1e-6, { embeddingScale: rootOfSize }), 'gemma4_text gemma4_unified_text'),
  ...each(
    rmsNorm(UNTIED, 1e-6, { offset: 1, inMlx: 'offset' }),
    'qwen3_next qwen3_5 qwen3_5_text qwen3_5_moe qwen3_5_moe_text',
  ),
  ...each(
    rmsNorm(UNTIED, 1e-6, granite),
    'granite granitemoe granitemoeshared granitemoehybrid granite4_vision_text',
  ),
  ['granitemoe_swa', rmsNorm(UNTIED, 1e-6, granite)],
  ['granite_swa', rmsNorm(TIED, 1e-5, granite)],
  ['plamo2', rmsNorm(TIED, 1e-6, { offset: 1 })],
  ['minimax_m3_vl_text', rmsNorm(UNTIED, 1e-6, { offset: 1 })],
  ['step3p5', rmsNorm(UNTIED, 1e-5, { offset: 1, inMlx: 'offset' })],
  [
    'muse_glimmer_text',
    rmsNorm(UNTIED, 1e-5, {
      logitScale: config => config.number('output_multiplier', 0.19611613513818404),
      softCap: { fallback: 20 },
    }),
  ],
  // Its second version has this one's name in `architectures` alone, and a cap.
  [
    'grok-1',
    rmsNorm(TIED, 1e-5, {
      logitScale: config => config.number('output_multiplier_scale', 0.5773502691896257),
      embeddingScale: config => config.number('embedding_multiplier_scale', 78.38367176906169),
    }),
  ],
  [
    'hyperclovax',
    rmsNorm(UNTIED, 1e-6, {
      logitScale: multiplier('logits_scaling'),
      embeddingScale: multiplier('embedding_multiplier'),
    }),
  ],
  [
    'minicpm',
    rmsNorm(
      TIED,
      1e-6,
      miniCpm(() => 1, 1),
    ),
  ],
  [
    'minicpm3',
    rmsNorm(
      TIED,
      1e-5,
      miniCpm(() => 256, 12),
    ),
  ],
  // One description for a vision model over MiniCPM, Llama or Qwen.
  ...each(
    rmsNorm(
      UNTIED,
      1e-6,
      miniCpm(config => config.hiddenSize, 1),
    ),
    'minicpmv minicpmo',
  ),
  [
    'falcon_h1',
    rmsNorm(UNTIED, 1e-5, {
      inMlx: 'scales',
      logitScale: multiplier('lm_head_multiplier'),
      embeddingScale: multiplier('embedding_multiplier'),
    }),
  ],
  ['afmoe', rmsNorm(UNTIED, 1e-5, { embeddingScale: rootOfSizeIf('mup_enabled', false) })],
  [
    'nanochat',
    {
      norm: { type: 'rmsnorm', eps: ['rms_norm_eps', 1e-6], weightless: true },
      tied: UNTIED,
      softCap: { fallback: 15 },
    },
  ],
  // Its second version divides each row of the output by its length. Both have the same type, and the first has 64,000 rows.
  ['baichuan', rmsNorm(UNTIED, 1e-6, { unitRows: config => config.number('vocab_size', 0) !== 64000 })],
  ['baichuan_m1', rmsNorm(UNTIED, 1e-6, { unitRows: () => true, inMlx: 'unitRows' })],
  ...each(
    rmsNorm(UNTIED, 1e-6, { unitRows: config => config.flag('norm_head') === true, inMlx: 'unitRows' }),
    'bailing_moe bailing_moe_linear',
  ),
  // ChatGLM's first version has another norm and no word for it.
  [
    'chatglm',
    {
      norm: config => ({
        type: (config.flag('rmsnorm') ?? !config.has('position_encoding_2d')) ? 'rmsnorm' : 'layernorm',
        eps: ['layernorm_epsilon', 1e-5],
      }),
      tied: UNTIED,
    },
  ],
  [
    'molmo',
    {
      norm: config => ({
        type: config.text('layer_norm_type') === 'rms' ? 'rmsnorm' : 'layernorm',
        eps: ['layer_norm_eps', 1e-5],
      }),
      tied: UNTIED,
    },
  ],

  // ---- T5: RMSNorm, and hidden states times d^-1/2 where the matrix is the embedding, as the first version's is
  ...each(
    {
      norm: { type: 'rmsnorm', eps: ['layer_norm_epsilon', 1e-6] },
      tied: TIED,
      logitScale: config => (config.flag('tie_word_embeddings') === false ? 1 : 1 / rootOfSize(config)),
    },
    't5 mt5 umt5 longt5 switch_transformers pop2piano',
  ),

  // ---- LayerNorm
  ...each(
    layerNorm('layer_norm_epsilon', TIED),
    'gpt2 gpt_neo gpt_bigcode bloom falcon mpt RefinedWeb RefinedWebModel codeshell',
  ),
  ...each(layerNorm('layer_norm_epsilon', UNTIED), 'gptj codegen phi-msft mixformer-sequential'),
  ['stablelm_epoch', layerNorm('norm_eps', UNTIED)],
  // What its newer configs have under keys that begin with mup, its older ones have for both factors in one.
  [
    'jais',
    layerNorm('layer_norm_epsilon', TIED, {
      logitScale: config =>
        config.has('mup_width_scale')
          ? config.number('mup_output_alpha', 1) * config.number('mup_width_scale')
          : config.number('width_scale', 1),
      embeddingScale: config => config.number('mup_embeddings_scale', config.number('embeddings_scale', 1)),
    }),
  ],
  ...each(layerNorm('layer_norm_eps', UNTIED), 'gpt_neox phi stablelm persimmon jais2'),
  ['gpt_neox_japanese', layerNorm('layer_norm_eps', TIED)],
  ['starcoder2', layerNorm('norm_epsilon', TIED)],
  ...each(layerNorm('rms_norm_eps', UNTIED), 'phimoe orion'),
  ['nemotron', { norm: { type: 'layernorm', eps: ['norm_eps', 1e-5], offset: 1 }, tied: UNTIED }],
  ['olmo', { norm: { type: 'layernorm', eps: [undefined, 1e-5], weightless: true }, tied: UNTIED }],
  ['dbrx', layerNorm(undefined, UNTIED)],
  ['rwkv', layerNorm(undefined, UNTIED)],
  ['rwkv7', layerNorm('norm_eps', UNTIED)],
  ['opt', layerNorm(undefined, TIED, { ownWidth: true })],
  [
    'ctrl',
    {
      norm: { type: 'layernorm', eps: ['layer_norm_epsilon', 1e-6] },
      tied: TIED,
      embeddingScale: rootOfSize,
    },
  ],
  ['cohere', layerNorm('layer_norm_eps', TIED, cohereLogits)],
  ['cohere2', layerNorm('layer_norm_eps', TIED, cohereLogits)],
  ['cohere_compass_text', layerNorm('layer_norm_eps', TIED, { logitScale: multiplier('logit_scale') })],
  // It has the norm whose eps it has.
  [
    'cohere2_moe',
    {
      norm: config =>
        config.has('rms_norm_eps')
          ? { type: 'rmsnorm', eps: ['rms_norm_eps', 1e-5] }
          : { type: 'layernorm', eps: ['layer_norm_eps', 1e-5] },
      tied: TIED,
      ...cohereLogits,
    },
  ],
  [
    'phi3small',
    layerNorm('layer_norm_epsilon', TIED, {
      logitScale: config => 1 / config.number('mup_width_multiplier', 8),
      embeddingScale: config => config.number('mup_embedding_multiplier', 10),
    }),
  ],
  // Decoders of encoder-decoders: positions are added to what `embed` gives.
  ['whisper', layerNorm(undefined, TIED, { beyondTokenizer: true })],
  ['moonshine', layerNorm(undefined, TIED, { beyondTokenizer: true })],
  ...each(layerNorm(undefined, TIED, scaledIfSaid), 'mbart pegasus blenderbot'),
  ...each(
    layerNorm(undefined, TIED, scaledUnlessDenied),
    'm2m_100 nllb-moe xglm biogpt pegasus_x speech_to_text',
  ),

  // ---- No norm of its own before the head
  ...each({ tied: TIED, ...scaledIfSaid }, 'bart marian blenderbot-small led mvp plbart trocr'),
  ...each({ tied: TIED, ...scaledUnlessDenied }, 'bigbird_pegasus'),
  ...each(
    { tied: TIED },
    `bert roberta xlm-roberta xlm-roberta-xl camembert distilbert mpnet ernie modernbert modernbert-decoder deberta
     deberta-v2`,
  ),
  ...each({ tied: TIED, ownWidth: true }, 'electra albert'),
]);

/** Letters and digits alone tell one family from another: 'GPTNeoX' is 'gpt_neox'. */
const plain = (type: string) => type.toLowerCase().replace(/[^a-z0-9]/g, '');
const TYPES = new Map([...FAMILIES.keys()].map(type => [plain(type), type]));

/** The type that a config's `model_type`, or the name of its class, stands for: Gemma2ForCausalLM. */
export function knownType(name: string): string | undefined {
  return TYPES.get(plain(name)) ?? TYPES.get(plain(name.replace(/(?:For[A-Z]\w+|LMHeadModel|Model)$/, '')));
}
