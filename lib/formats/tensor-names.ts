/** Which tensors of a file make up the head: by the names that architectures give them. */
import { LMHeadError } from '../errors';
import { warn } from '../warning';
import { isReal, usable } from './stored-numbers';
import { quoted, shapeText, type TensorEntry, type TensorTable } from './tensor-table';

/** What of a file a head is made of. */
export interface HeadTensors {
  output: MatrixTensor;
  /** Another matrix for the input. */
  input?: MatrixTensor;
  /** Input and output are two matrices, even where the input's is not known. */
  untied: boolean;
  /** [V] */
  bias?: VectorTensor;
  /** [d] each. */
  norm?: { weight: VectorTensor; bias?: VectorTensor };
}
export interface VectorTensor {
  name: string;
  entry: TensorEntry;
}
export interface MatrixTensor extends VectorTensor {
  rows: number;
  columns: number;
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
const NORMS = [
  'norm',
  'ln_f',
  'gpt_neox.final_layer_norm',
  'final_layernorm',
  'final_layer_norm',
  'encoder.final_layernorm',
  'norm_f',
  'backbone.norm_f',
  'rms_norm',
  'rwkv.ln_out',
  'ln_out',
  'final_norm',
  'output_norm',
  'lm_head.ln',
];
const PREFIXES = [
  '',
  'model.',
  'transformer.',
  'model.transformer.',
  'model.decoder.',
  'language_model.',
  'model.language_model.',
  'language_model.model.',
  'model.text_model.',
  'text_model.',
];
const SUFFIXES = ['.weight', '', '.bias'];
/** What stands beside or instead of a plain weight, by the form that it is part of. None of them is read. */
const FORMS: readonly [suffix: string, form: string][] = [
  ['qweight', 'GPTQ or AWQ'],
  ['weight_packed', 'compressed-tensors'],
  ['W_q', 'HQQ'],
  ['weight._data', 'quanto'],
  ['base_layer', 'an adapter (LoRA) that is not merged'],
  ['lora_A', 'an adapter (LoRA) that is not merged'],
  ['lora_embedding_A', 'an adapter (LoRA) that is not merged'],
  ['original_module', 'an adapter (PEFT) that is not merged'],
  ['modules_to_save', 'an adapter (PEFT) that is not merged'],
  ['weight_scale', 'a scaled type (FP8 or int8)'],
  ['weight_scale_inv', 'a scaled type (FP8)'],
  ['SCB', 'bitsandbytes'],
  ['weight.absmax', 'bitsandbytes'],
  ['weight.SCB', 'bitsandbytes'],
  ['scales', 'a quantized type (MLX)'],
];
const SHOWN = 8;

let all: Set<string> | undefined;
let outputs: Set<string> | undefined;
let embeddings: Set<string> | undefined;

const withPrefixes = (bases: readonly string[]) =>
  new Set(bases.flatMap(base => PREFIXES.map(prefix => prefix + base)));

/** The form that a tensor's name is of, and the module that has it; of outputs alone, or of embeddings too. */
function unreadForm(name: string, embedding: boolean): { base: string; form: string } | undefined {
  outputs ??= withPrefixes(OUTPUTS);
  embeddings ??= withPrefixes(EMBEDDINGS);
  for (const [suffix, form] of FORMS) {
    const at = `${name}.`.indexOf(`.${suffix}.`);
    if (at < 0) continue;
    const base = name.slice(0, at);
    if (isOutputBase(base) || (embedding && embeddings.has(base))) return { base, form };
  }
  return undefined;
}

/** An embedding cannot stand in for an output that is there in a form that is not read. */
function requireReadForm(
  tensors: TensorTable,
  file: string,
  output: string | undefined,
  embedding: string | undefined,
): void {
  for (const [name, { dtype, shape }] of tensors) {
    const unread = unreadForm(name, output === undefined);
    if (!unread) continue;
    const used = output ?? embedding;
    const { base, form } = unread;
    if (output !== undefined && base !== output && `${base}.weight` !== output) continue;
    // An output elsewhere may be of another part; the embedding's own form matters only where it is to serve.
    if (used !== undefined && output === undefined && !isOutputBase(base) && `${base}.weight` !== used)
      continue;
    throw new LMHeadError(
      'TENSOR',
      `tensor: ${file} has ${base} in a form that is not read, ${form}: ${name.slice(0, 80)} ${dtype} ${shapeText(shape)}; ` +
        'want F32, F16 or BF16, merged and not quantized, or a GGUF file of the model',
    );
  }
}

function isOutputBase(base: string): boolean {
  return outputs!.has(base) || /(?:^|\.)(?:lm_head|embed_out)$/.test(base);
}

/** Can a tensor of that name be part of a head? */
export function isHeadTensor(name: string): boolean {
  all ??= new Set(
    [...OUTPUTS, ...EMBEDDINGS, ...NORMS].flatMap(base =>
      PREFIXES.flatMap(prefix => SUFFIXES.map(suffix => prefix + base + suffix)),
    ),
  );
  return all.has(name) || unreadForm(name, true) !== undefined;
}

/** What decides between several. */
export interface Wishes {
  /** The output's name, from the option `tensor`. */
  tensor?: string;
  /** How the output is stored. */
  layout: 'vd' | 'dv';
  /** Is the head tied, according to the model's description, and which file is that? */
  tied?: boolean;
  source?: string;
}

/**
 * Finds the output matrix, the input embedding where it is another, the output's bias, and the final norm.
 *
 * Where the model's description says that the head is tied, its output is the embedding, even beside a matrix with an output's
 * name; where it says that it is not, and there is no such matrix, the embedding has to serve after all. Both are warned of.
 * Without a word on it, a matrix with an output's name is the output, and beside it one with an embedding's name is the input.
 * With neither, a file of just one floating-point matrix means that. The option `tensor` stands above all this.
 */
export function findHeadTensors(tensors: TensorTable, file: string, wishes: Wishes): HeadTensors {
  const embedding = firstPresent(tensors, EMBEDDINGS, '.weight');
  if (wishes.tensor === undefined) {
    requireReadForm(tensors, file, firstPresent(tensors, OUTPUTS, '.weight'), embedding);
  }
  const name =
    wishes.tensor ?? outputName(tensors, file, embedding, wishes) ?? embedding ?? onlyMatrix(tensors);
  if (name === undefined || !tensors.has(name)) {
    const what = name === undefined ? "no tensor with an output matrix's name" : `no tensor ${quoted(name)}`;
    throw new LMHeadError('TENSOR', `tensor: ${file} has ${what}; ${available(tensors)}`);
  }
  const output = matrix(tensors, name, file);
  const [v, d] = wishes.layout === 'vd' ? [output.rows, output.columns] : [output.columns, output.rows];
  // Of a matrix with no output's name, alone and undescribed, nothing says that the input is another.
  const named = wishes.tensor === undefined ? isHeadTensor(name) : wishes.tied !== undefined;
  const untied = name !== embedding && (embedding !== undefined || (wishes.tied !== true && named));
  const found: HeadTensors = { output, untied };
  if (embedding !== undefined && embedding !== name) {
    const { shape } = tensors.get(embedding)!;
    if (shape.length === 2 && shape[0] === v && shape[1] === d)
      found.input = matrix(tensors, embedding, file);
    else if (shape.length === 2 && shape[0] > v && shape[1] === d) {
      // Rows of an input that no logit belongs to, as Llama 3.2 Vision has, come after the others.
      const { entry, ...input } = matrix(tensors, embedding, file);
      const end = entry.begin + ((entry.end - entry.begin) / shape[0]) * v;
      found.input = { ...input, rows: v, entry: { ...entry, shape: [v, d], end } };
    } else if (wishes.tensor === undefined) {
      throw new LMHeadError(
        'SHAPE',
        `tensor: ${file} has an embedding ${embedding} ${shapeText(shape)} beside ${name}; want [${v},${d}], or the option tensor`,
      );
    }
  }
  found.bias = biasOf(tensors, name, name === embedding, v, file);
  const norm = NORMS.flatMap(base => PREFIXES.map(prefix => prefix + base)).find(
    base => vector(tensors, `${base}.weight`, d) !== undefined,
  );
  if (norm !== undefined) {
    found.norm = { weight: vector(tensors, `${norm}.weight`, d)!, bias: vector(tensors, `${norm}.bias`, d) };
  }
  return found;
}

/** The name of the matrix that is nothing but an output, if the head has one. */
function outputName(
  tensors: TensorTable,
  file: string,
  embedding: string | undefined,
  { tied, source }: Wishes,
): string | undefined {
  const output = firstPresent(tensors, OUTPUTS, '.weight');
  if (embedding === undefined) return output;
  if (tied === true && output !== undefined) {
    warn(
      'LMHEAD_TIE',
      `according to ${source} input and output are tied, but ${file} has ${output} beside ${embedding}. It is not used; ` +
        `tensor: '${output}' uses it`,
    );
    return undefined;
  }
  if (tied === false && output === undefined) {
    warn(
      'LMHEAD_TIE',
      `according to ${source} input and output are not tied, but ${file} has no output matrix beside ${embedding}, ` +
        'which serves as both',
    );
  }
  return output;
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
  const names: string[] = [];
  const others: string[] = [];
  for (const [name, entry] of tensors) {
    if (entry.shape.length !== 2) continue;
    if (usable(entry)) names.push(name);
    else if (isReal(entry)) others.push(name);
  }
  if (names.length === 1) return names[0];
  return names.length === 0 && others.length === 1 ? others[0] : undefined;
}

function matrix(tensors: TensorTable, name: string, file: string): MatrixTensor {
  const entry = tensors.get(name)!;
  const { shape } = entry;
  if (shape.length !== 2 || shape[0] === 0 || shape[1] === 0) {
    throw new LMHeadError(
      'SHAPE',
      `tensor: ${name} in ${file} is ${shapeText(shape)}; want two dimensions above 0`,
    );
  }
  return { name, entry, rows: shape[0], columns: shape[1] };
}

/** A tensor of exactly that shape, if there is one. */
function vector(tensors: TensorTable, name: string, length: number): VectorTensor | undefined {
  const entry = tensors.get(name);
  return entry?.shape.length === 1 && entry.shape[0] === length ? { name, entry } : undefined;
}

/** The bias beside the output matrix; beside an embedding that serves as one, the bias that an output would have. */
function biasOf(
  tensors: TensorTable,
  output: string,
  tied: boolean,
  v: number,
  file: string,
): VectorTensor | undefined {
  const name = tied ? firstPresent(tensors, OUTPUTS, '.bias') : besideWeight(output, '.bias');
  const entry = name ? tensors.get(name) : undefined;
  if (!name || !entry) return undefined;
  const bias = vector(tensors, name, v);
  // Beside an embedding it can be of something else that is called 'head' or 'output'.
  if (bias || tied) return bias;
  throw new LMHeadError(
    'SHAPE',
    `bias: ${name} in ${file} is ${shapeText(entry.shape)}; want [${v}], or the option bias`,
  );
}

/** The name of what belongs to a weight. */
export function besideWeight(name: string, suffix: string): string | undefined {
  return name.endsWith('.weight') ? name.slice(0, -'.weight'.length) + suffix : undefined;
}

function available(tensors: TensorTable): string {
  const names: string[] = [];
  for (const [name, { dtype, shape }] of tensors) {
    if (shape.length === 2) names.push(`${name.slice(0, 80)} ${dtype} ${shapeText(shape)}`);
  }
  if (names.length === 0) return 'want a file with a matrix in it: this one has none';
  const more = names.length > SHOWN ? `, and ${names.length - SHOWN} more` : '';
  return `want one of ${names.slice(0, SHOWN).join(', ')}${more}`;
}
