/** Which tensors of a file make up the head: by the names that architectures give them. */
import { LMHeadError } from '../errors';
import { warn } from '../warning';
import { formOf, type MatrixForm } from './forms';
import { isLogitBias, type NamedPart, namedPart, type PartKind, partAnywhere } from './head-names';
import type { QuantizationFacts } from './model-facts';
import { isReal, usable } from './stored-values';
import { quoted, shapeText, type TensorEntry, type TensorTable } from './tensor-table';
import { type UnreadForm, unreadForm } from './unread-forms';

/** What of a file a head is made of. */
export interface HeadTensors {
  output: MatrixTensor;
  /** Another matrix for the input, of as many rows as it has. */
  input?: MatrixTensor;
  /** Input and output are two matrices, even where the input's is not known. */
  untied: boolean;
  /** Why the input's matrix is not known, for messages. */
  inputProblem?: string;
  /** According to the model's description output and input are one: so they are, if they have the same bytes. */
  saidTied?: true;
  /** [V], or [1,V] */
  bias?: VectorTensor;
  /** Modules that may be the final norm, the likeliest first; [d] each. */
  norms: NormTensors[];
}
export interface VectorTensor {
  name: string;
  entry: TensorEntry;
}
/** Its name and entry are those of the tensor with its values, where it is stored as several. */
export interface MatrixTensor extends VectorTensor {
  rows: number;
  columns: number;
  /** The module that it is the weight of. */
  module?: string;
  /** How to make one matrix of it, where it is no plain one. */
  form?: MatrixForm;
}
export interface NormTensors {
  weight: VectorTensor;
  bias?: VectorTensor;
  /** Its name can stand for nothing but a norm, and it lies beside the embedding. */
  standard: boolean;
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
  /** The final norm's module, where the description knows it. */
  normName?: string;
  quantization?: QuantizationFacts;
  hiddenSize?: number;
  /** What the file is instead of a model. */
  instead?: string;
  /** Of all tensors that there are, where more are than are given. */
  names?: readonly string[];
}

/** A module that by its name is a part of a head, with its tensors by what of it they are. */
interface Module extends Omit<NamedPart, 'leaf'> {
  leaves: Map<string, VectorTensor>;
}
type Modules = Record<PartKind, Module[]>;

const SHOWN = 8;
/** Tensors that say how another one's values are encoded. */
const OF_ANOTHER = /(?:^|\.)(?:scales|biases|weight_scale\w*|weight_zero_point|qzeros|absmax|SCB)$/;

/** Tensors of an adapter, which is a sum to a model's matrices. */
const OF_ADAPTER =
  /(?:^|\.)(?:lora_(?:[ABab]|embedding_[AB]|magnitude_vector)|hada_w\d_[ab]|lokr_w\d(?:_[ab])?)(?:\.|$)/;

/**
 * Finds the output matrix, the input embedding where it is another, the output's bias, and what may be the final norm.
 *
 * A matrix with an output's name is the output, and one with an embedding's name the input. Without the first the embedding
 * is both, which is warned of where the model's description says otherwise. With neither, a file of just one floating-point
 * matrix means that. The option `tensor` takes precedence over all this.
 * @throws LMHeadError TENSOR where nothing is found, or an output only in a form that is not read; SHAPE
 */
export function findHeadTensors(tensors: TensorTable, file: string, asked: Wishes): HeadTensors {
  const modules = modulesOf(tensors, asked.tied);
  const wishes = { ...asked, hiddenSize: asked.hiddenSize ?? widthBeside(modules) };
  const found =
    wishes.tensor === undefined ? outputOf(tensors, modules, file, wishes) : named(tensors, file, wishes);
  const { tied, tensor } = wishes;
  const [v, d] = wishes.layout === 'vd' ? [found.rows, found.columns] : [found.columns, found.rows];
  const head: HeadTensors = { output: found, untied: false, norms: normsOf(modules, d, wishes.normName) };
  const input = inputOf(modules.embedding, found, v, d, file, wishes);
  if (input !== undefined) {
    head.untied = true;
    if (typeof input === 'string') head.inputProblem = `${file} has ${input}`;
    else head.input = input;
    if (tied === true && tensor === undefined && head.input) head.saidTied = true;
  } else if (!isEmbedding(modules, found)) {
    // Of a matrix with no output's name, alone and undescribed, nothing says that the input is another.
    const isNamed = tensor === undefined ? namedPart(found.name) !== undefined : tied !== undefined;
    head.untied = tied !== true && isNamed;
  }
  head.bias = biasOf(tensors, modules, found, v, file);
  return head;
}

/** The matrix that the option `tensor` names. */
function named(tensors: TensorTable, file: string, wishes: Wishes): MatrixTensor {
  const name = wishes.tensor!;
  const entry = tensors.get(name);
  if (!entry) {
    throw new LMHeadError(
      'TENSOR',
      `tensor: ${file} has no tensor ${quoted(name)}; ${available(tensors, wishes.names)}`,
    );
  }
  const module = name.slice(0, Math.max(0, name.lastIndexOf('.')));
  const leaves = new Map<string, VectorTensor>([
    [name.slice(module.length && module.length + 1), { name, entry }],
  ]);
  if (module !== '') {
    for (const [other, its] of tensors) {
      if (other.startsWith(`${module}.`))
        leaves.set(other.slice(module.length + 1), { name: other, entry: its });
    }
  }
  const form = formOf(leaves, { file, module, ...wishes });
  return form ? formed(form, module) : plain({ name, entry }, file, module || undefined);
}

function outputOf(tensors: TensorTable, modules: Modules, file: string, wishes: Wishes): MatrixTensor {
  const output = firstMatrix(modules.output, file, wishes);
  if (output) return output;
  const embedding = firstMatrix(modules.embedding, file, wishes);
  if (embedding) {
    if (wishes.tied === false) {
      warn(
        'LMHEAD_TIE',
        `according to ${wishes.source} input and output are not tied, but ${file} has no output matrix beside ` +
          `${embedding.name}, which serves as both`,
      );
    }
    return embedding;
  }
  const name = onlyMatrix(tensors);
  if (name !== undefined) {
    const entry = tensors.get(name)!;
    if (wishes.layout === 'dv' || !/(?:^|[./])kernel(?::0)?$/.test(name)) return plain({ name, entry }, file);
    throw new LMHeadError(
      'TENSOR',
      `tensor: ${name} in ${file} is a kernel ${shapeText(entry.shape)}, which Flax and Keras store as [d,V]; want the option layout: 'dv', or tensor: '${name}'`,
    );
  }
  if (wishes.instead !== undefined) {
    throw new LMHeadError(
      'TENSOR',
      `tensor: ${file} has no output matrix: it is ${wishes.instead}; want the file of the model`,
    );
  }
  if ((wishes.names ?? [...tensors.keys()]).some(each => OF_ADAPTER.test(each))) {
    throw new LMHeadError(
      'TENSOR',
      `tensor: ${file} has only an adapter (LoRA) in it, without the model's matrices; want the model, with the adapter merged into it`,
    );
  }
  throw new LMHeadError(
    'TENSOR',
    `tensor: ${file} has no tensor with an output matrix's name; ${available(tensors, wishes.names)}`,
  );
}

/** Of a head that is not described: what a plain embedding or, where they agree, the norms say of the hidden size. */
function widthBeside({ embedding, norm }: Modules): number | undefined {
  for (const { leaves } of embedding) {
    const entry = leaves.get('weight')?.entry;
    if (entry?.shape.length === 2 && usable(entry)) return entry.shape[1];
  }
  const lengths = new Set<number>();
  for (const { leaves } of norm) {
    const shape = leaves.get('weight')?.entry.shape;
    if (shape?.length === 1) lengths.add(shape[0]);
  }
  return lengths.size === 1 ? [...lengths][0] : undefined;
}

function isEmbedding(modules: Modules, { module }: MatrixTensor): boolean {
  return module !== undefined && modules.embedding.some(each => each.module === module);
}

/** Of a part that has no place where architectures have it, the only one with its name elsewhere is taken. */
function modulesOf(tensors: TensorTable, tied: boolean | undefined): Modules {
  const modules = collect(tensors, namedPart);
  const elsewhere = collect(tensors, partAnywhere);
  if (modules.output.length === 0 && modules.embedding.length === 0) return elsewhere;
  if (modules.output.length === 0 && tied !== true && elsewhere.output.length === 1)
    modules.output = elsewhere.output;
  if (modules.embedding.length === 0 && elsewhere.embedding.length === 1)
    modules.embedding = elsewhere.embedding;
  const beside = new Set(modules.embedding.map(({ prefix }) => prefix));
  if (modules.norm.length === 0) modules.norm = elsewhere.norm.filter(({ prefix }) => beside.has(prefix));
  return modules;
}

function collect(tensors: TensorTable, partOf: (name: string) => NamedPart | undefined): Modules {
  const modules: Modules = { output: [], embedding: [], norm: [] };
  const known = new Map<string, Module>();
  for (const [name, entry] of tensors) {
    const part = partOf(name);
    if (!part) continue;
    const { leaf, ...rest } = part;
    const key = `${part.kind} ${part.module}`;
    let module = known.get(key);
    if (!module) {
      module = { ...rest, leaves: new Map() };
      known.set(key, module);
      modules[part.kind].push(module);
    }
    module.leaves.set(leaf, { name, entry });
  }
  const depth = ({ prefix }: Module) => prefix.split('.').length;
  for (const list of Object.values(modules)) list.sort((a, b) => a.rank - b.rank || depth(a) - depth(b));
  return modules;
}

/** The matrix of the best of the modules that has one. An output in a form that is not read is not passed over. */
function firstMatrix(modules: readonly Module[], file: string, wishes: Wishes): MatrixTensor | undefined {
  for (const module of modules) {
    const matrix = matrixOf(module, file, wishes);
    if (matrix && !('unread' in matrix)) return matrix;
    if (matrix) throw notRead(file, module.module, matrix.unread);
  }
  return undefined;
}

function notRead(file: string, module: string, { form, tensor }: UnreadForm): LMHeadError {
  const { dtype, shape } = tensor.entry;
  return new LMHeadError(
    'TENSOR',
    `tensor: ${file} has ${module} in a form that is not read, ${form}: ${tensor.name} ${dtype} ${shapeText(shape)}; ` +
      'want F32, F16 or BF16, merged and not quantized, or a GGUF file of the model',
  );
}

/** A module's matrix, whatever form it is stored in. */
function matrixOf(
  module: Module,
  file: string,
  wishes: Wishes,
): MatrixTensor | { unread: UnreadForm } | undefined {
  const form = formOf(module.leaves, { file, module: module.module, ...wishes });
  if (form) return formed(form, module.module);
  const unread = unreadForm(module);
  if (unread) return { unread };
  const tensor = module.leaves.get('weight') ?? module.leaves.get('');
  return tensor && tensor.entry.shape.length !== 1 ? plain(tensor, file, module.module) : undefined;
}

function formed(form: MatrixForm, module: string): MatrixTensor {
  const { rows, columns } = form;
  return { ...form.parts[0], rows, columns, module, form };
}

/**
 * The input's matrix, where it is another than `output`.
 * @returns a description of one that cannot be used
 */
function inputOf(
  modules: readonly Module[],
  output: MatrixTensor,
  v: number,
  d: number,
  file: string,
  wishes: Wishes,
): MatrixTensor | string | undefined {
  if (modules.some(({ module }) => module === output.module)) return undefined;
  const problems: string[] = [];
  let best: MatrixTensor | undefined;
  for (const module of modules) {
    try {
      const matrix = matrixOf(module, file, wishes);
      if (!matrix) continue;
      if ('unread' in matrix) {
        problems.push(`the embedding ${module.module} in a form that is not read, ${matrix.unread.form}`);
      } else if (!matrix.form && !usable(matrix.entry)) {
        problems.push(`the embedding ${matrix.name} in ${matrix.entry.dtype}, which is not read`);
      } else if (matrix.columns !== d) {
        problems.push(
          `the embedding ${matrix.name} [${matrix.rows},${matrix.columns}], whose rows are no hidden states`,
        );
      } else if (!best || (best.rows !== v && matrix.rows === v)) best = matrix;
    } catch (error) {
      if (!(error instanceof LMHeadError)) throw error;
      problems.push(`an embedding that cannot be used: ${error.message}`);
    }
  }
  return best ?? problems[0];
}

/** What may be the final norm: beside the embedding first, then by the name. */
function normsOf(modules: Modules, d: number, wanted: string | undefined): NormTensors[] {
  const beside = new Set([...modules.embedding, ...modules.output].map(({ prefix }) => prefix));
  const isVector = (tensor?: VectorTensor) => tensor?.entry.shape.length === 1 && tensor.entry.shape[0] === d;
  return modules.norm
    .filter(({ leaves }) => isVector(leaves.get('weight')))
    .map(module => ({ ...module, first: module.module === wanted ? 0 : beside.has(module.prefix) ? 1 : 2 }))
    .sort((a, b) => a.first - b.first)
    .map(({ leaves, module, first }) => {
      const bias = leaves.get('bias');
      const standard = first === 1 && partAnywhere(`${module}.weight`) !== undefined;
      return { weight: leaves.get('weight')!, bias: isVector(bias) ? bias : undefined, standard };
    });
}

/** The one floating-point matrix of a file, if it is one that can be used, or else if it is the only one at all. */
function onlyMatrix(tensors: TensorTable): string | undefined {
  const names: string[] = [];
  const others: string[] = [];
  for (const [name, entry] of tensors) {
    if (entry.shape.length !== 2 || OF_ANOTHER.test(name)) continue;
    if (usable(entry)) names.push(name);
    else if (isReal(entry)) others.push(name);
  }
  if (names.length === 1) return names[0];
  return names.length === 0 && others.length === 1 ? others[0] : undefined;
}

function plain({ name, entry }: VectorTensor, file: string, module?: string): MatrixTensor {
  const { shape } = entry;
  if (shape.length !== 2 || shape[0] === 0 || shape[1] === 0) {
    throw new LMHeadError(
      'SHAPE',
      `tensor: ${name} in ${file} is ${shapeText(shape)}; want two dimensions above 0`,
    );
  }
  return { name, entry, rows: shape[0], columns: shape[1], module };
}

/** The bias of the logits: beside the output matrix, or under a name of its own. */
function biasOf(
  tensors: TensorTable,
  modules: Modules,
  output: MatrixTensor,
  v: number,
  file: string,
): VectorTensor | undefined {
  const tied = isEmbedding(modules, output);
  const own = output.module === undefined ? undefined : `${output.module}.bias`;
  const beside = own === undefined ? undefined : tensors.get(own);
  if (beside) {
    const { shape } = beside;
    if (shape.length === 1 && shape[0] === v) return { name: own!, entry: beside };
    if (!tied)
      throw new LMHeadError(
        'SHAPE',
        `bias: ${own} in ${file} is ${shapeText(shape)}; want [${v}], or the option bias`,
      );
  }
  const fits = ({ shape }: TensorEntry) => shape.at(-1) === v && shape.slice(0, -1).every(size => size === 1);
  for (const [name, entry] of tensors) if (fits(entry) && isLogitBias(name)) return { name, entry };
  // Beside an embedding it can be of something else that is called 'head' or 'output'.
  const biases = tied || output.name.includes('.decoder.') ? modules.output : [];
  return biases.map(({ leaves }) => leaves.get('bias')).find(bias => bias && fits(bias.entry));
}

/** The name of what belongs to a weight. */
export function besideWeight(name: string, suffix: string): string | undefined {
  return name.endsWith('.weight') ? name.slice(0, -'.weight'.length) + suffix : undefined;
}

function available(tensors: TensorTable, all: readonly string[] = []): string {
  const names: string[] = [];
  for (const [name, { dtype, shape }] of tensors) {
    if (shape.length === 2) names.push(`${name.slice(0, 80)} ${dtype} ${shapeText(shape)}`);
  }
  if (names.length > 0) return `want one of ${listed(names)}`;
  // What is not read has a name alone.
  const others = all.filter(name => /[^a-z]weight$|^[^.]+$/i.test(name));
  if (others.length > 0)
    return `want the option tensor with the name of one: ${listed(others.map(name => name.slice(0, 80)))}`;
  return 'want a file with a matrix in it: this one has none';
}

function listed(names: readonly string[]): string {
  const more = names.length > SHOWN ? `, and ${names.length - SHOWN} more` : '';
  return names.slice(0, SHOWN).join(', ') + more;
}
