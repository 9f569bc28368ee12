/** Reads params.json, which Mistral and Meta put beside consolidated weights. */
import { LMHeadError } from '../errors';
import type { JsonValue } from './json-scanner';
import type { ModelFacts } from './model-facts';

type Members = Map<string, JsonValue>;

/** Is it such a description, and not just some file of that name? */
export function describesParams(params: JsonValue): params is Members {
  return params instanceof Map && typeof params.get('dim') === 'number';
}

/**
 * What it says: both have an RMSNorm before the output.
 * @param file its name, for messages
 * @throws LMHeadError FORMAT for a value that cannot be
 */
export function factsOfParams(params: Members, file: string): ModelFacts {
  const malformed = (what: string) =>
    new LMHeadError('FORMAT', `${file}: ${what}; want a model's params.json`);
  const number = (key: string): number | undefined => {
    const value = params.get(key) ?? undefined;
    if (value === undefined || typeof value === 'number') return value;
    throw malformed(`${key} is no number`);
  };
  const size = (key: string): number | undefined => {
    const value = number(key);
    // Meta's first ones have -1, which is left to the tokenizer.
    if (value === undefined || value === -1) return undefined;
    if (Number.isSafeInteger(value) && value > 0) return value;
    throw malformed(`${key} is no integer above 0`);
  };
  const facts: ModelFacts = {
    source: file,
    family: { type: 'params.json', known: true },
    hiddenSize: size('dim'),
    vocabSize: size('vocab_size'),
    origins: { tied: 'config', norm: 'config', vocabSize: 'config' },
  };
  const tied = params.get('tied_embeddings') ?? undefined;
  if (tied !== undefined && typeof tied !== 'boolean')
    throw malformed('tied_embeddings is neither true nor false');
  facts.tied = tied ?? false;
  if (tied === undefined) facts.origins!.tied = 'family';
  const eps = number('norm_eps');
  if (eps === undefined) return facts;
  if (!(eps >= 0 && eps < Infinity)) throw malformed(`norm_eps is ${eps}`);
  facts.norm = { type: 'rmsnorm', eps, offset: 0 };
  return facts;
}
