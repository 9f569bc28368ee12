/** Reads a model's config.json, as Hugging Face's transformers write it, for what it says about the head. */
import { LMHeadError } from '../errors';
import { warn } from '../warning';
import type { JsonValue } from './json-scanner';
import type { ModelFacts } from './model-facts';
import { type ConfigNumbers, FAMILIES, type Family } from './model-families';
import { quoted } from './tensor-table';

type Members = Map<string, JsonValue>;

const HIDDEN_SIZES = ['hidden_size', 'n_embd', 'd_model'];
const VOCAB_SIZES = ['vocab_size', 'padded_vocab_size'];

/** Is it a model's config.json, and not just some file of that name? */
export function describesModel(config: JsonValue): config is Members {
  return config instanceof Map && typeof config.get('model_type') === 'string';
}

/**
 * What the config says. Of a family that is not known (a warning says so) neither norm nor scales can be told.
 * @param file the config's name, for messages
 * @throws LMHeadError FORMAT for a value that cannot be
 */
export function factsOf(config: Members, file: string): ModelFacts {
  const reader = new ConfigReader(config, file);
  const family = FAMILIES.get(reader.modelType);
  const facts: ModelFacts = {
    source: file,
    tied: reader.tied ?? family?.tied,
    vocabSize: reader.size(VOCAB_SIZES),
    softCap: reader.softCap(family),
  };
  if (!family) {
    warn(
      'LMHEAD_FAMILY',
      `${file}: models of type ${quoted(reader.modelType)} are not known, so no final norm and no scales are set; ` +
        'where the model has them, pass them as options',
    );
    return facts;
  }
  if (!family.ownWidth) facts.hiddenSize = reader.size(HIDDEN_SIZES);
  const [key, fallback] = family.eps;
  const eps = key === undefined ? fallback : reader.number(key, fallback);
  if (!(eps >= 0 && eps < Infinity)) throw reader.malformed(`${key} is ${eps}`);
  facts.norm = { type: family.norm, eps, offset: family.offset ?? 0 };
  facts.inMlx = family.inMlx;
  facts.logitScale = family.logitScale?.(reader);
  facts.embeddingScale = family.embeddingScale?.(reader);
  for (const scale of [facts.logitScale, facts.embeddingScale]) {
    if (scale !== undefined && !Number.isFinite(Math.fround(scale))) {
      throw reader.malformed(`its scales come to ${scale}`);
    }
  }
  return facts;
}

class ConfigReader implements ConfigNumbers {
  readonly modelType: string;
  readonly #whole: Members;
  /** The part about text, in a config of several parts. */
  readonly #text: Members;
  readonly #file: string;

  constructor(config: Members, file: string) {
    const text = config.get('text_config');
    this.#whole = config;
    this.#text = text instanceof Map ? text : config;
    this.#file = file;
    const own = this.#text.get('model_type');
    this.modelType = typeof own === 'string' ? own : (config.get('model_type') as string);
  }

  get tied(): boolean | undefined {
    const tied = this.#whole.get('tie_word_embeddings') ?? this.#get('tie_word_embeddings');
    if (tied === undefined || tied === null) return undefined;
    if (typeof tied === 'boolean') return tied;
    throw this.malformed('tie_word_embeddings is neither true nor false');
  }

  get hiddenSize(): number {
    const size = this.size(HIDDEN_SIZES);
    if (size === undefined) throw this.malformed('hidden_size is missing');
    return size;
  }

  /** A whole number above 0, under the first of its names that is there. */
  size(keys: readonly string[]): number | undefined {
    const key = keys.find(name => this.#get(name) !== undefined);
    if (key === undefined) return undefined;
    const size = this.#get(key);
    if (typeof size === 'number' && Number.isSafeInteger(size) && size > 0) return size;
    throw this.malformed(`${key} is no whole number above 0`);
  }

  number(key: string, fallback?: number): number {
    const value = this.#get(key) ?? fallback;
    if (typeof value === 'number') return value;
    throw this.malformed(value === undefined ? `${key} is missing` : `${key} is no number`);
  }

  softCap(family: Family | undefined): number | undefined {
    const key = 'final_logit_softcapping';
    const cap = this.#get(key) === undefined ? family?.softCap : this.#get(key);
    if (cap === undefined || cap === null) return undefined;
    if (typeof cap === 'number' && Math.fround(cap) > 0 && Math.fround(cap) < Infinity) return cap;
    throw this.malformed(`${key} is no number above 0`);
  }

  malformed(what: string): LMHeadError {
    return new LMHeadError('FORMAT', `${this.#file}: ${what}; want a model's config.json`);
  }

  #get(key: string): JsonValue | undefined {
    return this.#text.get(key);
  }
}
