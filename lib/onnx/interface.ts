/** What a decoder takes and gives, found by the names and shapes that exporters use. */
import { LMHeadError } from '../errors';
import type { Session, ValueMetadata } from './runtime';

export interface Value {
  name: string;
  type: string;
  shape: readonly (number | string)[];
}

/** What a model makes at one token and takes at the next: keys and values, or a state of fixed size (of a convolution, say). */
export interface Cache {
  input: string;
  type: string;
  /** The output that becomes the input. */
  output: string;
  /** The axis that grows with the text; undefined of a state of fixed size. */
  axis: number | undefined;
  /** At the beginning of a text. */
  first: readonly number[];
}

/** What an input that is no cache holds. */
export type Role =
  | 'ids'
  | 'embeddings'
  | 'mask'
  | 'positions'
  | 'cachePositions'
  | 'keep'
  | 'useCache'
  | 'zeros';

const ROLES: Record<string, Role> = {
  __proto__: null as never,
  input_ids: 'ids',
  inputs_embeds: 'embeddings',
  attention_mask: 'mask',
  position_ids: 'positions',
  cache_position: 'cachePositions',
  num_logits_to_keep: 'keep',
  logits_to_keep: 'keep',
  use_cache_branch: 'useCache',
  token_type_ids: 'zeros',
};

const TYPES: Record<Role, readonly string[]> = {
  ids: ['int64', 'int32'],
  embeddings: ['float32', 'float16'],
  mask: ['int64', 'int32', 'bool', 'float32'],
  positions: ['int64', 'int32'],
  cachePositions: ['int64', 'int32'],
  keep: ['int64', 'int32'],
  useCache: ['bool'],
  zeros: ['int64', 'int32'],
};

const HIDDEN_NAMES = ['last_hidden_state', 'hidden_states', 'last_hidden_states', 'hidden_state'];

export interface DecoderInterface {
  inputs: readonly (Value & { role: Role })[];
  caches: readonly Cache[];
  /** The rows that tokens are chosen from. */
  output: Value;
  /** Are these logits? Else they are hidden states. */
  givesLogits: boolean;
}

/**
 * @param hasHead is there one for hidden states? A model that gives these and logits gives logits without
 * @param wished the output with the hidden states, where a caller names it
 * @throws LMHeadError TENSOR for a model that is no decoder of text alone
 */
export function interfaceOf(session: Session, hasHead: boolean, wished?: string): DecoderInterface {
  const given = session.inputMetadata.map(described);
  const outputs = session.outputMetadata.map(described);
  const names = new Set(outputs.map(({ name }) => name));
  const batch = given.find(({ name, shape }) => ROLES[name] === 'ids' && shape.length === 2)?.shape[0];
  const inputs: (Value & { role: Role })[] = [];
  const caches: Cache[] = [];
  for (const value of given) {
    const role = ROLES[value.name];
    const output = role ? undefined : presentNames(value.name).find(name => names.has(name));
    if (output !== undefined) {
      caches.push(cacheOf(value, output, batch));
    } else if (role === undefined) {
      throw new LMHeadError(
        'TENSOR',
        `model: got an input ${value.name} ${shapeText(value)}, which is none of ${Object.keys(ROLES).join(', ')}, nor a cache with an output of its own; want a decoder of text alone`,
      );
    } else if (TYPES[role].includes(value.type)) {
      inputs.push({ ...value, role });
    } else {
      throw new LMHeadError(
        'DTYPE',
        `model: got ${value.type} in its input ${value.name}; want ${TYPES[role].join(' or ')}`,
      );
    }
  }
  if (!inputs.some(({ role }) => role === 'ids' || role === 'embeddings')) {
    throw new LMHeadError(
      'TENSOR',
      `model: got the inputs ${listOf(given)}; want input_ids, or inputs_embeds, among them`,
    );
  }
  const taken = new Set(caches.map(({ output }) => output));
  const { output, givesLogits } = outputOf(
    outputs.filter(({ name }) => !taken.has(name)),
    hasHead,
    wished,
  );
  return { inputs, caches, output, givesLogits };
}

function outputOf(
  outputs: Value[],
  hasHead: boolean,
  wished: string | undefined,
): { output: Value; givesLogits: boolean } {
  const logits = wished === undefined ? outputs.find(({ name }) => name === 'logits') : undefined;
  if (logits && !hasHead) return { output: logits, givesLogits: true };
  for (const name of wished === undefined ? HIDDEN_NAMES : [wished]) {
    const output = outputs.find(each => each.name === name);
    if (output) return { output, givesLogits: false };
  }
  if (logits) return { output: logits, givesLogits: true };
  throw new LMHeadError(
    'TENSOR',
    `model: got the outputs ${listOf(outputs)}; want ${wished ?? 'last_hidden_state, of a body, or logits'}`,
  );
}

function described({ name, isTensor, type, shape }: ValueMetadata): Value {
  if (!isTensor || type === undefined) {
    throw new LMHeadError('TENSOR', `model: got ${name}, which is no tensor; want tensors alone`);
  }
  return { name, type, shape: shape ?? [] };
}

/** What the output may be called that becomes this input. */
function presentNames(input: string): string[] {
  if (!/past|cache/.test(input)) return [];
  return [
    input.replace('past_key_values', 'present'),
    input.replace('past_key_values', 'present_key_values'),
    input.replace('past', 'present'),
    `${input}_out`,
  ].filter(name => name !== input);
}

/** @param batch what the model calls the number of texts */
function cacheOf(value: Value, output: string, batch: number | string | undefined): Cache {
  const { name, shape } = value;
  const open: number[] = [];
  const first = shape.map((size, i) => {
    if (typeof size === 'number') return size;
    if ((size !== '' && size === batch) || /batch/i.test(size) || i === 0) return 1;
    open.push(i);
    return 0;
  });
  if (shape.length === 0 || open.length > 1) {
    throw new LMHeadError(
      'TENSOR',
      `model: got a cache ${name} ${shapeText(value)}; want one size, that of the text, that is known only when it runs`,
    );
  }
  return { input: name, output, type: value.type, axis: open[0], first };
}

function shapeText({ shape }: Value): string {
  return `[${shape.map(size => (size === '' ? '?' : size)).join(', ')}]`;
}

/** As many as messages show. */
const MOST_NAMES = 8;

function listOf(values: Value[]): string {
  const names = values.slice(0, MOST_NAMES).map(({ name }) => name);
  return (values.length > MOST_NAMES ? [...names, '…'] : names).join(', ') || '(none)';
}
