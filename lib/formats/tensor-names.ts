/** Which tensors of a file make up the head: by the names that architectures give them. */
import { LMHeadError } from '../errors';
import type { Dtype } from '../types';
import type { TensorTable } from './tensor-table';

/** What of a file a head is made of. */
export interface HeadTensors {
  output: MatrixTensor;
  /** Another matrix for the input; absent: tied. */
  input?: MatrixTensor;
  /** [V] */
  bias?: VectorTensor;
}
export interface MatrixTensor {
  name: string;
  dtype: Dtype;
  rows: number;
  columns: number;
  begin: number;
}
export interface VectorTensor {
  name: string;
  dtype: Dtype;
  length: number;
  begin: number;
  end: number;
}

/** Most specific first. */
const OUTPUTS = [
  'lm_head',
  'embed_out',
  'word_embeddings_for_head',
  'lm_head.linear',
  'output_layer',
  'model.transformer.ff_out',
  'head.decoder',
  'output',
  'head',
];
const EMBEDDINGS = [
  'embed_tokens',
  'gpt_neox.embed_in',
  'embed_in',
  'wte',
  'embd.wte',
  'tok_embeddings',
  'token_embd',
  'token_embeddings',
  'in_out_embed',
  'word_embeddings',
  'embedding.word_embeddings',
  'backbone.embedding',
  'backbone.embeddings',
  'rwkv.embeddings',
  'embeddings',
  'embedding',
  'shared',
];
const PREFIXES = [
  '',
  'model.',
  'transformer.',
  'model.transformer.',
  'language_model.',
  'model.language_model.',
  'language_model.model.',
];
const DTYPES = new Map<string, Dtype>([
  ['F32', 'f32'],
  ['F16', 'f16'],
  ['BF16', 'bf16'],
]);
const SHOWN = 8;

/**
 * Finds the output matrix, the input embedding where it is another, and the output's bias.
 *
 * Without a config there is no word on tying. So: a tensor with an output's name is the output; beside it, one with an
 * embedding's name is the input, and the head untied. With an embedding alone the head is tied. With neither, a file of
 * just one floating-point matrix means that.
 * @param wanted the output's name, from the option `tensor`
 * @param layout how the output is stored
 */
export function findHeadTensors(
  tensors: TensorTable,
  file: string,
  wanted: string | undefined,
  layout: 'vd' | 'dv',
): HeadTensors {
  const outputName = wanted ?? firstPresent(tensors, OUTPUTS, '.weight');
  const embeddingName = firstPresent(tensors, EMBEDDINGS, '.weight');
  const name = outputName ?? embeddingName ?? onlyMatrix(tensors);
  if (name === undefined || !tensors.has(name)) {
    const what =
      name === undefined ? "no tensor with an output matrix's name" : `no tensor ${JSON.stringify(name)}`;
    throw new LMHeadError('TENSOR', `tensor: ${file} has ${what}; ${available(tensors)}`);
  }
  const output = matrix(tensors, name, file);
  const [v, d] = layout === 'vd' ? [output.rows, output.columns] : [output.columns, output.rows];
  const found: HeadTensors = { output };
  if (embeddingName !== undefined && embeddingName !== name) {
    const { shape } = tensors.get(embeddingName)!;
    if (shape.length === 2 && shape[0] === v && shape[1] === d)
      found.input = matrix(tensors, embeddingName, file);
    else if (wanted === undefined) {
      throw new LMHeadError(
        'SHAPE',
        `tensor: ${file} has an embedding ${embeddingName} [${shape}] beside ${name}; want [${v}, ${d}], or the option tensor`,
      );
    }
  }
  found.bias = biasOf(tensors, name, name === embeddingName, v, file);
  return found;
}

/** The first of `bases`, with a prefix or without, that is there. */
function firstPresent(tensors: TensorTable, bases: readonly string[], suffix: string): string | undefined {
  for (const base of bases) {
    for (const prefix of PREFIXES) {
      if (tensors.has(prefix + base + suffix)) return prefix + base + suffix;
      if (suffix === '.weight' && tensors.has(prefix + base)) return prefix + base;
    }
  }
  return undefined;
}

/** The one floating-point matrix of a file, if it is one that can be used, or else if it is the only one at all. */
function onlyMatrix(tensors: TensorTable): string | undefined {
  const usable: string[] = [];
  const others: string[] = [];
  for (const [name, { dtype, shape }] of tensors) {
    if (shape.length !== 2) continue;
    if (DTYPES.has(dtype)) usable.push(name);
    else if (/^F\d/.test(dtype)) others.push(name);
  }
  if (usable.length === 1) return usable[0];
  return usable.length === 0 && others.length === 1 ? others[0] : undefined;
}

function matrix(tensors: TensorTable, name: string, file: string): MatrixTensor {
  const { dtype, shape, begin } = tensors.get(name)!;
  if (shape.length !== 2 || shape[0] === 0 || shape[1] === 0) {
    throw new LMHeadError(
      'SHAPE',
      `tensor: ${name} in ${file} is [${shape.slice(0, 8)}]; want two dimensions above 0`,
    );
  }
  return { name, dtype: usableDtype(dtype, name, file), rows: shape[0], columns: shape[1], begin };
}

function usableDtype(dtype: string, name: string, file: string): Dtype {
  const known = DTYPES.get(dtype);
  if (known) return known;
  throw new LMHeadError('DTYPE', `tensor: ${name} in ${file} is ${dtype}; want F32, F16 or BF16`);
}

/** The bias beside the output matrix; beside an embedding that serves as one, the bias that an output would have. */
function biasOf(
  tensors: TensorTable,
  output: string,
  tied: boolean,
  v: number,
  file: string,
): VectorTensor | undefined {
  const name = tied
    ? firstPresent(tensors, OUTPUTS, '.bias')
    : output.endsWith('.weight') && `${output.slice(0, -'.weight'.length)}.bias`;
  const entry = name ? tensors.get(name) : undefined;
  if (!name || !entry) return undefined;
  const { dtype, shape, begin, end } = entry;
  if (shape.length !== 1 || shape[0] !== v) {
    if (tied) return undefined; // of something else that is called 'head' or 'output'
    throw new LMHeadError(
      'SHAPE',
      `bias: ${name} in ${file} is [${shape.slice(0, 8)}]; want [${v}], or the option bias`,
    );
  }
  return { name, dtype: usableDtype(dtype, name, file), length: v, begin, end };
}

function available(tensors: TensorTable): string {
  const names: string[] = [];
  for (const [name, { dtype, shape }] of tensors) {
    if (shape.length === 2) names.push(`${name} ${dtype} [${shape}]`);
  }
  if (names.length === 0) return 'want a file with a matrix in it: this one has none';
  const more = names.length > SHOWN ? `, and ${names.length - SHOWN} more` : '';
  return `want one of ${names.slice(0, SHOWN).join(', ')}${more}`;
}
