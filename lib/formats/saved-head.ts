/** What `save` writes beside the weights, so that the same head opens again: a string in the metadata of .safetensors. */
import { LMHeadError } from '../errors';
import { JsonScanner, type JsonValue } from './json-scanner';
import type { ModelFacts } from './model-facts';

/** The metadata's key. */
const KEY = 'lmhead';

/** The name of a head's bounded copy among tensors, and the form that it has now. */
export const COPY_TENSOR = 'lmhead.screen';
export const COPY_FORM = 1;

/** What of a head is not in its matrices and vectors. */
export type SavedFacts = Omit<ModelFacts, 'source'>;

export function savedMetadata(facts: SavedFacts): Record<string, string> {
  return { format: 'pt', [KEY]: JSON.stringify(facts) };
}

/**
 * @param file its name, for messages
 * @returns undefined where the file is not one that `save` has written
 * @throws LMHeadError FORMAT where it seems so, and is not
 */
export function savedFacts(metadata: Map<string, string>, file: string): ModelFacts | undefined {
  const text = metadata.get(KEY);
  if (text === undefined) return undefined;
  const malformed = (cause?: unknown) =>
    new LMHeadError(
      'FORMAT',
      `${file}: its metadata has no well-formed ${KEY}; want a file as save writes it`,
      {
        cause,
      },
    );
  let value: JsonValue;
  try {
    const scanner = new JsonScanner(text);
    value = scanner.value();
    scanner.end();
  } catch (error) {
    if (error instanceof SyntaxError) throw malformed(error);
    throw error;
  }
  if (!(value instanceof Map)) throw malformed();
  const facts: ModelFacts = { source: file };
  for (const [key, type, allowed] of FIELDS) {
    const field = value.get(key);
    if (field === undefined) continue;
    if (typeof field !== type || (allowed && !allowed(field))) throw malformed();
    Object.assign(facts, { [key]: field });
  }
  const norm = value.get('norm');
  if (norm === undefined) return facts;
  if (!(norm instanceof Map)) throw malformed();
  const [type, eps, offset] = ['type', 'eps', 'offset'].map(key => norm.get(key));
  if ((type !== 'layernorm' && type !== 'rmsnorm') || !notNegative(eps) || !finite(offset)) throw malformed();
  facts.norm = { type, eps, offset };
  return facts;
}

type Check = (value: JsonValue) => boolean;
const finite = (value: JsonValue | undefined): value is number => Number.isFinite(value);
const notNegative = (value: JsonValue | undefined): value is number => finite(value) && value >= 0;
const integerAboveZero: Check = value => Number.isSafeInteger(value) && (value as number) > 0;

const FIELDS: readonly [key: keyof SavedFacts, type: string, allowed?: Check][] = [
  ['tied', 'boolean'],
  ['vocabSize', 'number', integerAboveZero],
  ['hiddenSize', 'number', integerAboveZero],
  ['logitScale', 'number', value => Number.isFinite(Math.fround(value as number))],
  ['softCap', 'number', value => Math.fround(value as number) > 0 && Math.fround(value as number) < Infinity],
  ['capOrder', 'string', value => value === 'scale-then-cap' || value === 'cap-then-scale'],
  ['embeddingScale', 'number', finite],
  ['screen', 'number', integerAboveZero],
];
