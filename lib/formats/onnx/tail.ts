/** What a graph does to the logits behind the product: bias, scale, mask, soft-cap, in whatever order. */
import { LMHeadError } from '../../errors';
import type { Plan } from '../read-plan';
import { countOf, quoted } from '../tensor-table';
import type { OnnxNode } from './model';
import { constantTensor, constantValues, HANDS_ON, isOnnx, type Known, type Scope } from './scope';
import type { TensorReader } from './tensor-data';

/** One thing that is done to the logits. */
type Step =
  | { kind: 'add'; values: Float64Array | Float32Array }
  | { kind: 'multiply'; by: number }
  | { kind: 'mask'; masked: Float64Array; value: number }
  | { kind: 'tanh' };

/** logits = scale·(product + bias), capped. */
export interface Tail {
  scale: number;
  bias?: Float32Array<ArrayBuffer>;
  softCap?: number;
  /** What of it there is, for reports. */
  parts: string[];
}

/** A walk from the logits to the node that makes them. */
export interface Walked {
  /** From the logits on. */
  steps: Step[];
  /** Where the walk ends: at a node that does none of this. */
  end: Known | undefined;
  /** The value that it gives. */
  value: string;
  scope: Scope;
  /** Was one of them of another shape? */
  reshaped: boolean;
  /** Types that values are converted to. */
  casts: number[];
}

const LONGEST = 40;
/** Numbers of a vector of the vocabulary, at most. */
const MOST = 2 ** 26;

/** @param from the value's name */
export function* walkTail(reader: TensorReader, scope: Scope, from: string): Plan<Walked> {
  const steps: Step[] = [];
  const casts: number[] = [];
  let value = from;
  let at = scope;
  let reshaped = false;
  for (let i = 0; i < LONGEST; i++) {
    const known = at.find(value);
    const ended = () => ({ steps, end: known, value, scope: at, reshaped, casts });
    if (known?.kind !== 'node') return ended();
    const { node } = known;
    at = known.scope;
    let next: string | undefined;
    if (isOnnx(node) && HANDS_ON.has(node.op)) {
      next = node.inputs[0] ?? '';
      if (node.op === 'Cast') casts.push(node.attributes.get('to')?.integer ?? 0);
      else if (node.op !== 'Identity') reshaped = true;
    } else if (isOnnx(node) && node.op === 'Tanh') {
      steps.push({ kind: 'tanh' });
      next = node.inputs[0] ?? '';
    } else {
      next = (yield* arithmetic(reader, at, node, steps)) ?? (yield* masked(reader, at, node, steps));
    }
    if (next === undefined) return ended();
    value = next;
  }
  throw new LMHeadError(
    'FORMAT',
    `${reader.file}: more than ${LONGEST} nodes follow the head, or they go in a circle; want a graph without`,
  );
}

/** Add, Sub, Mul and Div with values that the file has. @returns the name of what they are done to */
function* arithmetic(
  reader: TensorReader,
  scope: Scope,
  node: OnnxNode,
  steps: Step[],
): Plan<string | undefined> {
  if (!isOnnx(node) || !['Add', 'Sub', 'Mul', 'Div'].includes(node.op) || node.inputs.length !== 2)
    return undefined;
  const [a, b] = node.inputs;
  const ofB = yield* vectorOf(reader, scope, b);
  const commutes = node.op === 'Add' || node.op === 'Mul';
  const ofA = ofB === undefined && commutes ? yield* vectorOf(reader, scope, a) : undefined;
  const values = ofB ?? ofA;
  if (!values) return undefined;
  const [by] = values;
  if (node.op === 'Add') steps.push({ kind: 'add', values });
  else if (node.op === 'Sub') steps.push({ kind: 'add', values: Float64Array.from(values, x => -x) });
  else if (values.length > 1) return undefined;
  else steps.push({ kind: 'multiply', by: node.op === 'Mul' ? by : 1 / by });
  return ofB ? a : b;
}

function* masked(
  reader: TensorReader,
  scope: Scope,
  node: OnnxNode,
  steps: Step[],
): Plan<string | undefined> {
  if (!isOnnx(node) || node.op !== 'Where' || node.inputs.length !== 3) return undefined;
  const [condition, yes, no] = node.inputs;
  if (!constantTensor(scope, condition)) return undefined;
  const mask = yield* constantValues(reader, scope, condition, MOST);
  if (!mask) return undefined;
  const ofYes = yield* vectorOf(reader, scope, yes);
  const ofNo = ofYes ? undefined : yield* vectorOf(reader, scope, no);
  const value = ofYes ?? ofNo;
  if (value?.length !== 1) return undefined;
  const where = Float64Array.from(mask, x => Number((x !== 0) === (ofYes !== undefined)));
  steps.push({ kind: 'mask', masked: where, value: value[0] });
  return ofYes ? no : yes;
}

/** A number, or one for each token. */
function* vectorOf(
  reader: TensorReader,
  scope: Scope,
  name: string,
): Plan<Float64Array | Float32Array | undefined> {
  const tensor = constantTensor(scope, name);
  if (tensor && (countOf(tensor.dims) ?? 0) !== (tensor.dims.at(-1) ?? 1)) return undefined;
  const values = yield* constantValues(reader, scope, name, MOST);
  return values && values.length > 0 ? values : undefined;
}

/**
 * What the steps come to.
 * @param first what the head's node itself does, before all of them
 * @throws LMHeadError TENSOR where that is none of what a head does
 */
export function tailOf(reader: TensorReader, walked: Walked, vocabSize: number, first: Step[] = []): Tail {
  const steps = [...first, ...walked.steps.toReversed()];
  const refuse = (what: string) =>
    new LMHeadError(
      'TENSOR',
      `tensor: ${reader.file} has ${what} behind its head; want a bias, a scale, a mask and a soft-cap`,
    );
  let scale = 1;
  let added: Float64Array | undefined;
  let inner = 1;
  let capped = false;
  const parts: string[] = [];
  const say = (part: string) => {
    if (!parts.includes(part)) parts.push(part);
  };
  for (const step of steps) {
    if (step.kind === 'multiply') {
      if (!Number.isFinite(step.by) || step.by === 0) throw refuse(`Mul by ${step.by}`);
      scale *= step.by;
      if (!capped) added = added?.map(x => x * step.by);
    } else if (step.kind === 'tanh') {
      if (capped) throw refuse('Tanh twice');
      inner = scale;
      capped = true;
      scale = 1;
    } else if (capped) {
      throw refuse(step.kind === 'add' ? 'Add after Tanh' : 'Where after Tanh');
    } else {
      const values = step.kind === 'add' ? step.values : step.masked;
      if (values.length !== vocabSize && values.length !== 1) {
        throw refuse(`${step.kind === 'add' ? 'Add' : 'Where'} of ${values.length} elements`);
      }
      const at = (i: number) => values[values.length === 1 ? 0 : i];
      const before = added;
      added = Float64Array.from({ length: vocabSize }, (_, i) => {
        const sum = before?.[i] ?? 0;
        if (step.kind === 'add') return sum + at(i);
        return at(i) === 0 ? sum : step.value;
      });
      say(step.kind === 'add' ? 'bias' : 'mask');
    }
  }
  // scale·tanh(inner·product + added) is a cap of `scale` on scale·inner·(product + bias).
  const divisor = capped ? inner : scale;
  const tail: Tail = { scale: Math.fround(capped ? inner * scale : scale), parts };
  if (capped) {
    if (scale <= 0) throw refuse('Tanh times a number that is not above 0');
    tail.softCap = scale;
    say('soft-cap');
  }
  if (tail.scale !== 1) say('scale');
  if (added) tail.bias = Float32Array.from(added, x => x / divisor);
  return tail;
}

/** Steps that the head's own node has. */
export function ownSteps(scale: number, bias?: Float64Array | Float32Array): Step[] {
  const steps: Step[] = [];
  if (scale !== 1) steps.push({ kind: 'multiply', by: scale });
  if (bias) steps.push({ kind: 'add', values: bias });
  return steps;
}

export function stepName(known: Known | undefined, value: string): string {
  if (known?.kind !== 'node') return quoted(value);
  const { op, domain } = known.node;
  return domain === '' ? op : `${domain}.${op}`;
}
