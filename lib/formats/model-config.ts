/** Reads a model's config.json, as Hugging Face's transformers write it, for what it says about the head. */
import { LMHeadError } from '../errors';
import type { JsonValue } from './json-scanner';
import type { ModelFacts, NormEps, Origins, QuantizationFacts } from './model-facts';
import { type ConfigMembers, FAMILIES, type Family, knownType } from './model-families';

type Members = Map<string, JsonValue>;

const HIDDEN_SIZES = ['hidden_size', 'n_embd', 'd_model'];
const VOCAB_SIZES = ['vocab_size', 'padded_vocab_size'];
const TIES = ['tie_word_embeddings', 'tie_embedding', 'share_input_output_layers', 'weight_tying'];
/** The part about text, in a config of several parts. */
const TEXT_PARTS = ['text_config', 'llm_config', 'language_config', 'thinker_config', 'decoder'];
const QUANTIZATIONS = ['quantization', 'quantization_config'];
const CAP = 'final_logit_softcapping';
/** Keys of the eps of norms that are surely of the one kind, and of those that mostly are of the other. */
const RMS_EPS = ['rms_norm_eps'];
const LAYER_EPS = ['layer_norm_eps', 'layer_norm_epsilon', 'layernorm_epsilon', 'norm_eps', 'norm_epsilon'];

/** Parts of models that are about something else, though a text model may be in them. */
const OTHER_PARTS = /vision|image|audio|speech|sound|talker|encoder|qformer|codec|draft|speculat|assistant/i;

/** Is it a model's config.json, and not just some file of that name? */
export function describesModel(config: JsonValue): config is Members {
  return config instanceof Map && partsOf(config).some(part => typesOf(part).length > 0);
}

/** From the whole to the part about text. */
function partsOf(config: Members): Members[] {
  const parts = [config];
  for (let part = textPart(config); part; part = textPart(part)) parts.push(part);
  return parts;
}

/** What a part says of which model it describes, the more certain first. */
function typesOf(part: Members): string[] {
  const architectures = part.get('architectures');
  const names = [part.get('model_type'), Array.isArray(architectures) ? architectures[0] : undefined];
  return names.filter(name => typeof name === 'string');
}

/**
 * What the config says. Of a family that is not known neither scales nor the kind of its norm can be told.
 * @param file the config's name, for messages
 * @param width the hidden size, where it is known from elsewhere and the config does not say
 * @throws LMHeadError FORMAT for a value that cannot be
 */
export function factsOf(config: Members, file: string, width?: number): ModelFacts {
  const reader = new ConfigReader(config, file, width);
  const family = FAMILIES.get(reader.modelType);
  const origins: ModelFacts['origins'] = {};
  /** What `read` reads, and whether the config or only the family says so. */
  const said = <T>(what: keyof Origins, read: () => T): T => {
    reader.said = false;
    const value = read();
    origins[what] = reader.said ? 'config' : 'family';
    return value;
  };
  const facts: ModelFacts = {
    source: file,
    family: { type: reader.modelType, known: family !== undefined },
    tied: said('tied', () => reader.tied ?? family?.tied),
    vocabSize: said('vocabSize', () => reader.vocabSize),
    softCap: said('softCap', () => reader.softCap(family)),
    quantization: reader.quantization,
    origins,
  };
  if (!family) {
    facts.likelyNorm = { rmsnorm: reader.eps(RMS_EPS), layernorm: reader.eps(LAYER_EPS) };
    return facts;
  }
  if (!family.ownWidth) facts.hiddenSize = reader.size(HIDDEN_SIZES);
  facts.norm = said('norm', () => normOf(family, reader));
  facts.inMlx = family.inMlx;
  facts.unitRows = family.unitRows?.(reader);
  facts.logitScale = said('logitScale', () => family.logitScale?.(reader));
  facts.embeddingScale = said('embeddingScale', () => family.embeddingScale?.(reader));
  if (reader.lacksWidth) {
    facts.logitScale = facts.embeddingScale = undefined;
    facts.atWidth = size => factsOf(config, file, size);
  }
  for (const scale of [facts.logitScale, facts.embeddingScale]) {
    if (scale !== undefined && !Number.isFinite(Math.fround(scale))) {
      throw reader.malformed(`its scales come to ${scale}`);
    }
  }
  return facts;
}

function normOf(family: Family, reader: ConfigReader): ModelFacts['norm'] {
  const rule = typeof family.norm === 'function' ? family.norm(reader) : family.norm;
  if (!rule) return undefined;
  const { type, eps, offset = 0, weightless } = rule;
  const [key, fallback] = eps;
  return { type, eps: key === undefined ? fallback : reader.checkedEps(key, fallback), offset, weightless };
}

/** What quantize_config.json, or the part of a config.json about it, says. Values of other types than these say nothing. */
export function quantizationOf(config: Members): QuantizationFacts {
  const number = (members: Members, key: string) => {
    const value = members.get(key);
    return typeof value === 'number' ? value : undefined;
  };
  const text = (members: Members, key: string) => {
    const value = members.get(key);
    return typeof value === 'string' ? value : undefined;
  };
  const sizes = (members: Members) => ({
    bits: number(members, 'bits'),
    groupSize: number(members, 'group_size'),
    mode: text(members, 'mode'),
  });
  const block = config.get('weight_block_size');
  const modules = new Map<string, ReturnType<typeof sizes>>();
  for (const [key, value] of config) if (value instanceof Map) modules.set(key, sizes(value));
  return {
    ...sizes(config),
    format: text(config, 'checkpoint_format'),
    block:
      Array.isArray(block) &&
      block.length === 2 &&
      block.every(size => Number.isSafeInteger(size) && (size as number) > 0)
        ? (block as [number, number])
        : undefined,
    modules,
  };
}

/** Is one more than the tokenizer's largest id the number of ids that the model predicts? */
export function endsWithTokenizer({ family }: ModelFacts): boolean {
  return family?.known === true && !FAMILIES.get(family.type)?.beyondTokenizer;
}

class ConfigReader implements ConfigMembers {
  /** Becomes true where a value is read that is there. */
  said = false;
  readonly modelType: string;
  /** From the whole to the part about text. */
  readonly #parts: Members[];
  readonly #text: Members;
  readonly #file: string;

  /** Becomes true where the hidden size is asked for, and nobody knows it. */
  lacksWidth = false;
  readonly #width: number | undefined;

  constructor(config: Members, file: string, width: number | undefined) {
    this.#parts = partsOf(config);
    this.#text = this.#parts[this.#parts.length - 1];
    this.#file = file;
    this.#width = width;
    // The innermost part that says it, by its type if that is known, or else by its class.
    const types = this.#parts.map(typesOf).findLast(names => names.length > 0)!;
    this.modelType = types.map(knownType).find(type => type !== undefined) ?? types[0];
  }

  get tied(): boolean | undefined {
    for (const part of this.#parts) {
      const key = TIES.find(name => (part.get(name) ?? undefined) !== undefined);
      if (key === undefined) continue;
      const tied = part.get(key);
      this.said = true;
      if (typeof tied === 'boolean') return tied;
      throw this.malformed(`${key} is neither true nor false`);
    }
    return undefined;
  }

  get hiddenSize(): number {
    const size = this.size(HIDDEN_SIZES) ?? this.#width;
    this.lacksWidth ||= size === undefined;
    return size ?? Number.NaN;
  }

  /** Of an encoder-decoder whose two sides have vocabularies of their own, the decoder's. */
  get vocabSize(): number | undefined {
    if (this.flag('share_encoder_decoder_embeddings') === false && this.has('decoder_vocab_size')) {
      return this.size(['decoder_vocab_size']);
    }
    return this.size(VOCAB_SIZES);
  }

  get quantization(): QuantizationFacts | undefined {
    for (const part of this.#parts) {
      for (const key of QUANTIZATIONS) {
        const value = part.get(key);
        if (value instanceof Map) return quantizationOf(value);
      }
    }
    return undefined;
  }

  /** An integer above 0, under the first of its names that is there. */
  size(keys: readonly string[]): number | undefined {
    const key = keys.find(name => this.#get(name) !== undefined);
    if (key === undefined) return undefined;
    const size = this.#get(key);
    if (typeof size === 'number' && Number.isSafeInteger(size) && size > 0) return size;
    throw this.malformed(`${key} is no integer above 0`);
  }

  number(key: string, fallback?: number): number {
    const value = this.#get(key) ?? fallback;
    if (typeof value === 'number') return value;
    throw this.malformed(value === undefined ? `${key} is missing` : `${key} is no number`);
  }

  flag(key: string): boolean | undefined {
    const value = this.#get(key) ?? undefined;
    if (value === undefined || typeof value === 'boolean') return value;
    throw this.malformed(`${key} is neither true nor false`);
  }

  text(key: string): string | undefined {
    const value = this.#get(key) ?? undefined;
    if (value === undefined || typeof value === 'string') return value;
    throw this.malformed(`${key} is no string`);
  }

  has(key: string): boolean {
    return (this.#get(key) ?? undefined) !== undefined;
  }

  checkedEps(key: string, fallback?: number): number {
    const eps = this.number(key, fallback);
    if (eps >= 0 && eps < Infinity) return eps;
    throw this.malformed(`${key} is ${eps}`);
  }

  /** Under the first of the keys that is there. */
  eps(keys: readonly string[]): NormEps | undefined {
    const key = keys.find(name => this.has(name));
    return key === undefined ? undefined : { key, eps: this.checkedEps(key) };
  }

  softCap(family: Family | undefined): number | undefined {
    const { key = CAP, fallback } = family?.softCap ?? {};
    const cap = this.#get(key) === undefined ? fallback : this.#get(key);
    if (cap === undefined || cap === null) return undefined;
    if (typeof cap === 'number' && Math.fround(cap) > 0 && Math.fround(cap) < Infinity) return cap;
    throw this.malformed(`${key} is no number above 0`);
  }

  malformed(what: string): LMHeadError {
    return new LMHeadError('FORMAT', `${this.#file}: ${what}; want a model's config.json`);
  }

  #get(key: string): JsonValue | undefined {
    const value = this.#text.get(key);
    if (value !== undefined && value !== null) this.said = true;
    return value;
  }
}

function textPart(config: Members): Members | undefined {
  for (const key of TEXT_PARTS) {
    const part = config.get(key);
    // A decoder that is not a description of a model may be anything.
    if (part instanceof Map && (key !== 'decoder' || typeof part.get('model_type') === 'string')) return part;
  }
  if (typesOf(config).some(type => knownType(type) !== undefined)) return undefined;
  // Under whatever key: the one part that describes a model whose family is known.
  const parts = [...config].filter(
    ([key, part]) =>
      part instanceof Map &&
      !OTHER_PARTS.test(key) &&
      typesOf(part as Members).some(type => knownType(type) !== undefined),
  );
  return parts.length === 1 ? (parts[0][1] as Members) : undefined;
}
