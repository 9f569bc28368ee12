/** Models of @huggingface/transformers, as far as this library touches them. */

export interface ModelTensor {
  readonly data: ArrayBufferView & { readonly length: number };
  readonly type: string;
  readonly dims: readonly number[];
}

export type ModelOutputs = Record<string, ModelTensor | undefined>;

/** Token ids of each row so far. */
export type RowIds = readonly (readonly bigint[])[];

/** A logits processor of the caller's: changes logits [rows, V] in place, or returns others. */
export type Processor = (ids: RowIds, logits: ModelTensor) => ModelTensor;

/** What `generate` makes of a model's defaults, its generation_config.json and the arguments of a call. */
export interface GenerationConfig {
  max_length: number | null;
  min_length: number | null;
  min_new_tokens: number | null;
  do_sample: boolean;
  num_beams: number;
  temperature: number | null;
  top_k: number | null;
  top_p: number | null;
  min_p?: number | null;
  typical_p: number | null;
  epsilon_cutoff: number | null;
  eta_cutoff: number | null;
  repetition_penalty: number | null;
  no_repeat_ngram_size: number | null;
  bad_words_ids: number[][] | null;
  suppress_tokens: number[] | null;
  begin_suppress_tokens: number[] | null;
  forced_bos_token_id: number | null;
  forced_eos_token_id: number | null;
  eos_token_id: number | number[] | null;
  guidance_scale: number | null;
  [other: string]: unknown;
}

export type Arguments = Record<string, unknown>;

export interface Model {
  generate(args: Arguments): Promise<unknown>;
  forward(inputs: Arguments): Promise<ModelOutputs>;
  prepare_inputs_for_generation(ids: RowIds, ...rest: unknown[]): Arguments;
  _prepare_generation_config(...given: unknown[]): GenerationConfig;
  _get_logits_processor(config: GenerationConfig, length: number, own?: unknown): unknown;
}

export const METHODS = [
  'generate',
  'forward',
  'prepare_inputs_for_generation',
  '_prepare_generation_config',
  '_get_logits_processor',
] as const satisfies readonly (keyof Model)[];
