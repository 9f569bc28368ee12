/** An ONNX decoder as a file of weights: its head, as other formats' readers give theirs. */
import { got } from '../../arguments/describe';
import { LMHeadError } from '../../errors';
import type { MatrixForm, Part, ReadPart } from '../forms';
import type { ModelFacts } from '../model-facts';
import { type Plan, readBytes, within } from '../read-plan';
import type { HeadTensors, MatrixTensor } from '../tensor-names';
import type { TensorEntry, TensorTable } from '../tensor-table';
import { findHead, type OnnxHead } from './head';
import { type OnnxModel, type OnnxTensor, readModel } from './model';
import { fillRows, type Kept, keptAs, largestError, type Quantized, type ReadLevels } from './quantized';
import type { StoredMatrix } from './stored-matrix';
import { isFloating, TensorReader, typeName } from './tensor-data';

/** What is known of an ONNX file, and of its head. */
export interface OnnxFile {
  model: OnnxModel;
  size: number;
  reader: TensorReader;
  head: OnnxHead;
}

/** As weights: see Weights. */
export interface OnnxWeights {
  tensors: TensorTable;
  pathOf(tensor: string): string;
  unpacked: Map<string, Uint8Array<ArrayBuffer>>;
  facts?: ModelFacts;
  /** The head's tensors, which no names tell. */
  head?: HeadTensors;
}

/** @param wanted the name of the output that has logits */
export function* openOnnx(path: string, size: number, wanted?: string): Plan<OnnxFile> {
  const reader = new TensorReader(path, size);
  const model = yield* within(path, size, bytes => readModel(reader.file, bytes));
  return { model, size, reader, head: yield* findHead(reader, model, wanted) };
}

/** @param wanted the name of an output, or of an initializer that is the matrix itself */
export function* readOnnx(path: string, size: number, wanted: string | undefined): Plan<OnnxWeights> {
  const reader = new TensorReader(path, size);
  const model = yield* within(path, size, bytes => readModel(reader.file, bytes));
  const table = new Table(reader);
  const isOutput = model.graph.outputs.some(({ name }) => name === wanted);
  if (wanted !== undefined && !isOutput) {
    for (const [name, tensor] of model.graph.initializers) {
      if (tensor.dims.length === 2 && isFloating(tensor.type)) {
        const { dims: shape, type } = tensor;
        const bytes = name === wanted ? yield* table.add(tensor, shape, false) : undefined;
        if (!bytes) table.tensors.set(name, { dtype: typeName(type), shape, begin: 0, end: 0 });
      }
    }
    return table.weights();
  }
  const head = yield* findHead(reader, model, wanted);
  return yield* weightsOf(table, head);
}

function* weightsOf(table: Table, head: OnnxHead): Plan<OnnxWeights> {
  const { file } = table.reader;
  const { matrix, tail, embedding } = head;
  const output = yield* table.matrix(matrix);
  const input = embedding.matrix && !embedding.tied ? yield* table.matrix(embedding.matrix) : undefined;
  const found: HeadTensors = {
    output: output.tensor,
    input: input?.tensor,
    untied: !embedding.tied,
    inputProblem: embedding.problem,
    norms: [],
  };
  const { factor } = output;
  if (tail.bias) {
    // It is added before the product has the matrix's own scale.
    const bias = factor === 1 ? tail.bias : tail.bias.map(x => x / factor);
    found.bias = table.made('bias', { dtype: 'F32', shape: [bias.length] }, bytesView(bias));
  }
  const scale = tail.scale * factor;
  const embeddingScale = embedding.scale * (embedding.tied ? factor : (input?.factor ?? 1));
  const facts: ModelFacts = {
    source: file,
    tied: embedding.tied,
    logitScale: scale === 1 ? undefined : scale,
    softCap: tail.softCap,
    embeddingScale: embeddingScale === 1 ? undefined : embeddingScale,
    origins: { tied: 'file', logitScale: 'file', softCap: 'file', embeddingScale: 'file' },
  };
  return { ...table.weights(), facts, head: found };
}

/** How the head's weight is kept, and the largest error that it makes. */
export function* keptWeight(
  reader: TensorReader,
  { tensor, quantized }: StoredMatrix,
): Plan<{ dtype: string; maxWeightError: number }> {
  if (!quantized) {
    if (tensor.encoding === 'varints') yield* reader.stored(tensor);
    else yield* reader.locate(tensor);
    return { dtype: dtypeOf(tensor.type), maxWeightError: 0 };
  }
  const read = yield* levelsOf(reader, tensor);
  const kept = yield* keptAs(quantized, read);
  return { dtype: kept.dtype, maxWeightError: yield* largestError(quantized, kept, read) };
}

function dtypeOf(type: number): string {
  const name = typeName(type).toLowerCase();
  return name === 'f64' ? 'f32' : name;
}

/** Reads a tensor's integers where they are. */
function* levelsOf(reader: TensorReader, tensor: OnnxTensor): Plan<ReadLevels> {
  if (tensor.encoding === 'varints') {
    const bytes = bytesView(yield* reader.whole(tensor));
    // biome-ignore lint/correctness/useYield: a plan that needs nothing.
    return function* (offset, length) {
      return bytes.subarray(offset, offset + length);
    };
  }
  const at = yield* reader.locate(tensor);
  return (offset, length) => readBytes(at.path, { offset: at.begin + offset, length });
}

function bytesView(values: ArrayBufferView<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** The tensors that a head is made of, by names. */
class Table {
  readonly tensors: TensorTable = new Map();
  readonly reader: TensorReader;
  readonly #paths = new Map<string, string>();
  readonly #unpacked = new Map<string, Uint8Array<ArrayBuffer>>();

  constructor(reader: TensorReader) {
    this.reader = reader;
  }

  weights(): Omit<OnnxWeights, 'head'> {
    const { tensors } = this;
    const path = this.reader.path;
    return { tensors, pathOf: name => this.#paths.get(name) ?? path, unpacked: this.#unpacked };
  }

  /** A tensor that is no file's. */
  made(
    name: string,
    { dtype, shape }: Pick<TensorEntry, 'dtype' | 'shape'>,
    bytes: Uint8Array<ArrayBuffer>,
  ): Part {
    const own = this.#free(name);
    const entry: TensorEntry = { dtype, shape, begin: 0, end: bytes.length };
    this.tensors.set(own, entry);
    this.#unpacked.set(own, bytes);
    return { name: own, entry };
  }

  /** @param turned stored as the shape's transpose is */
  *add(tensor: OnnxTensor, shape: number[], turned: boolean): Plan<Part> {
    const { reader } = this;
    if (tensor.encoding === 'varints') {
      const part = this.made(
        tensor.name,
        { dtype: typeName(tensor.type), shape },
        bytesView(yield* reader.whole(tensor)),
      );
      if (turned) part.entry.columnMajor = true;
      return part;
    }
    const { path, begin, end } = yield* reader.locate(tensor);
    const name = this.#free(tensor.name);
    const entry: TensorEntry = { dtype: typeName(tensor.type), shape, begin, end };
    if (turned) entry.columnMajor = true;
    this.tensors.set(name, entry);
    this.#paths.set(name, path);
    return { name, entry };
  }

  *matrix(stored: StoredMatrix): Plan<{ tensor: MatrixTensor; factor: number }> {
    const { rows, columns, tensor, turned, quantized } = stored;
    const part = yield* this.add(tensor, [rows, columns], turned && !quantized);
    if (!quantized) return { tensor: { ...part, rows, columns }, factor: 1 };
    const kept = yield* keptAs(quantized, yield* levelsOf(this.reader, tensor));
    return { tensor: { ...part, rows, columns, form: formOf(quantized, kept, part) }, factor: kept.factor };
  }

  /** Tensors of several graphs may have one name. */
  #free(name: string): string {
    const short = name.slice(0, 1000) || 'weight';
    let free = short;
    for (let i = 2; this.tensors.has(free); i++) free = `${short} (${i})`;
    return free;
  }
}

function formOf(quantized: Quantized, kept: Kept, part: Part): MatrixForm {
  const { label, rows, columns } = quantized;
  return {
    ...{ label, rows, columns },
    parts: [part],
    dtype: kept.dtype,
    infinite: Array.prototype.some.call(quantized.scales.values, x => Math.abs(x) === Infinity),
    *fill(read: ReadPart, out) {
      const bytes = new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
      yield* fillRows(quantized, kept, (offset, length) => read(part, offset, length), bytes);
    },
  };
}

/** @throws LMHeadError RANGE for a layout that a graph says itself */
export function requireOwnLayout(file: string, layout: unknown): void {
  if (layout === undefined || layout === 'vd') return;
  throw new LMHeadError(
    'RANGE',
    `layout: got ${got(layout)} with ${file}; want none, as an ONNX graph says how its weight lies`,
  );
}
