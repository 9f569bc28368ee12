/** Whether the output of a model and its embedding are one matrix. */
import type { Plan } from '../formats/read-plan';
import type { HeadTensors, MatrixTensor, VectorTensor } from '../formats/tensor-names';
import type { Weights } from '../formats/weights';
import { warn } from '../warning';
import { readTensor, requireInFile } from './read-tensor';

/** Does the file itself say that they are one, as a checkpoint of PyTorch does of tensors that share their values? */
export function isOnePlace(weights: Weights, { output, input }: HeadTensors): boolean {
  if (!input || output.form || input.form || weights.unpacked?.has(output.name)) return false;
  const [a, b] = [output.entry, input.entry];
  return (
    weights.pathOf(output.name) === weights.pathOf(input.name) &&
    a.zipHeader === b.zipHeader &&
    a.begin === b.begin &&
    a.end === b.end &&
    a.dtype === b.dtype &&
    a.columnMajor === b.columnMajor &&
    output.rows === input.rows
  );
}

/** Input and output are that one matrix. */
export function join(found: HeadTensors, matrix: MatrixTensor): void {
  found.output = matrix;
  found.input = undefined;
  found.untied = false;
  found.saidTied = undefined;
}

/** So many bytes of two matrices are compared at first; those that differ mostly do so at once. */
const COMPARED_FIRST = 2 ** 16;

const COMPARED_AT_ONCE = 2 ** 22;

/** Decides by their bytes whether output and embedding, which are said to be tied, are one. */
export function* resolveTie(weights: Weights, found: HeadTensors): Plan<void> {
  const { output, input } = found;
  if (input && (yield* sameBytes(weights, output, input))) return join(found, input);
  warn(
    'LMHEAD_TIE',
    `according to ${weights.facts?.source} input and output are tied, but ${weights.name} has ${output.name} and ` +
      `${input?.name} with different values: each is used for what it is`,
  );
}

function* sameBytes(weights: Weights, a: MatrixTensor, b: MatrixTensor): Plan<boolean> {
  if (a.rows !== b.rows || a.form?.label !== b.form?.label) return false;
  const [these, those] = [a.form?.parts ?? [a], b.form?.parts ?? [b]];
  for (const [i, part] of these.entries()) {
    if (!(yield* sameTensor(weights, part, those[i]))) return false;
  }
  return these.length === those.length;
}

function* sameTensor(weights: Weights, a: VectorTensor, b: VectorTensor | undefined): Plan<boolean> {
  const size = a.entry.end - a.entry.begin;
  if (a.entry.dtype !== b?.entry.dtype || size !== b.entry.end - b.entry.begin) return false;
  yield* requireInFile(weights, a);
  yield* requireInFile(weights, b);
  let length = COMPARED_FIRST;
  for (let at = 0; at < size; at += length, length = COMPARED_AT_ONCE) {
    const part = Math.min(length, size - at);
    const of = ({ name, entry }: VectorTensor) =>
      readTensor(weights, name, { offset: entry.begin + at, length: part });
    if (Buffer.compare(yield* of(a), yield* of(b)) !== 0) return false;
  }
  return true;
}
