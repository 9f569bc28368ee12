/** What one thread posts to another, so that both have a head over the same weights. */
import { isShared, memoryOf, requireMemory } from '../arguments/arrays';
import { arrayType, got } from '../arguments/describe';
import {
  type HeadSettings,
  headSettings,
  headSizes,
  memoryMatrix,
  settingsAsOptions,
  specSettings,
} from '../arguments/head-options';
import { reading } from '../arguments/reading';
import { flag, integerBetween, oneOf, optionsObject } from '../arguments/values';
import type { HeadBackend, MatrixSource } from '../backend/backend';
import { chooseBackend } from '../backend/choose';
import type { QuantizeTarget } from '../dtypes/quantize';
import { type Groups, isFloat, isGrouped, matrixBytes, ROW_FORMATS } from '../dtypes/row-format';
import { LMHeadError } from '../errors';
import type { Shard } from '../shard/backend';
import { heldBy, shardRange } from '../shard/range';
import type { RowOrigin } from '../shard/rows';
import type { Dtype, HeadOptions } from '../types';
import { backendOfParts } from './head-backend';
import type { HeadParts } from './open';

/** Tells a handle from other objects, and from those of a version that writes them otherwise. */
const FORM = 'lmhead/1';

/** Structured-cloneable: a matrix is named, or lies in a SharedArrayBuffer, so no clone has a copy of it. */
interface Handle {
  form: typeof FORM;
  backend: 'native' | 'reference';
  vocabSize: number;
  hiddenSize: number;
  output: MatrixSource;
  /** Absent: tied. */
  input?: MatrixSource;
  untied: boolean;
  inputRows?: number;
  inputProblem?: string | undefined;
  normProblem?: string | undefined;
  settings: Partial<HeadOptions>;
  shard?: { range: { index: number; count: number }; origin: RowOrigin };
}

/** What a handle says beside weights and settings. */
export interface HeadFacts {
  vocabSize: number;
  hiddenSize: number;
  inputRows: number;
  untied: boolean;
  inputProblem: string | undefined;
  normProblem: string | undefined;
  shard: Shard | undefined;
}

/** The handle of a head; it keeps nothing alive. */
export function handleOf(facts: HeadFacts, settings: HeadSettings, backend: HeadBackend): object {
  const handle: Handle = {
    form: FORM,
    backend: backend.kind,
    ...facts,
    ...backend.share(),
    settings: { ...settingsAsOptions(settings), threads: backend.threads },
  };
  // A copy: what is done to it changes nothing here.
  return Object.freeze(structuredClone(handle));
}

/**
 * The parts of another head over the weights that a handle names.
 * @throws ARGUMENT for what is no handle, or one of another process or version; CLOSED where its weights are gone; LOAD
 */
export function partsOf(value: unknown): HeadParts {
  const handle = value as Handle;
  if (typeof value !== 'object' || value === null || reading('handle', () => handle.form) !== FORM) {
    throw new LMHeadError(
      'ARGUMENT',
      `handle: got ${got(value)}; want what \`handle\` of an open head gave, in this version`,
    );
  }
  const { kind, ...parts } = wellFormed(() => read({ ...handle }));
  return { ...parts, backend: backendOfParts(chooseBackend(kind), parts) };
}

const DTYPES = Object.keys(ROW_FORMATS) as Dtype[];

function read(handle: Handle): Pick<HeadParts, 'spec' | 'settings' | 'shard'> & { kind: unknown } {
  const { vocabSize, hiddenSize } = headSizes(handle.vocabSize, handle.hiddenSize);
  optionsObject(handle.settings, 'settings');
  const settings = headSettings(handle.settings, vocabSize, hiddenSize);
  const inputRows =
    handle.inputRows === undefined ? vocabSize : headSizes(handle.inputRows, hiddenSize).vocabSize;
  const matrix = (source: MatrixSource, name: string, rows: number): MatrixSource => {
    optionsObject(source, name);
    const dtype = oneOf(source.dtype ?? null, `${name}.dtype`, DTYPES);
    const groups = isGrouped(dtype) ? groupsOf(source.groups, hiddenSize) : undefined;
    if (source.kind === 'shared' && handle.backend === 'native' && typeof source.token === 'string') {
      return { kind: 'shared', token: source.token, dtype, layout: 'vd', groups };
    }
    const { data, token } = source as { data?: unknown; token?: unknown };
    if (groups) {
      const bytes = sharedBytes(data, name, matrixBytes(dtype, rows, hiddenSize, groups));
      return { kind: 'memory', data: bytes, dtype, copy: false, layout: 'vd', groups };
    }
    // The reference has unpacked floats; the type that they had is theirs still.
    const held = handle.backend === 'reference' && isFloat(dtype) ? 'f32' : dtype;
    const values = memoryMatrix(data, name, held, rows, hiddenSize, 'vd', false);
    return { ...values, dtype, token: typeof token === 'string' ? token : undefined };
  };
  const shard = handle.shard && shardOf(handle.shard, vocabSize, settings.epilogue.validVocabSize);
  const held = shard && heldBy({ vocabSize, hiddenSize, inputRows, ...specSettings(settings) }, shard.range);
  const output = matrix(handle.output, 'output', held?.vocabSize ?? vocabSize);
  const input =
    handle.input === undefined ? undefined : matrix(handle.input, 'input', held?.inputRows ?? inputRows);
  const untied = handle.untied === true;
  const words = (value: unknown) => (typeof value === 'string' ? value : undefined);
  const inputProblem = words(handle.inputProblem);
  const normProblem = words(handle.normProblem);
  const sizes = { vocabSize, hiddenSize, inputRows };
  return {
    spec: { ...sizes, output, input, untied, inputProblem, normProblem, ...specSettings(settings) },
    settings,
    shard,
    kind: handle.backend,
  };
}

function groupsOf(groups: unknown, hiddenSize: number): Groups {
  optionsObject(groups, 'groups');
  const { size, dtype } = groups as Groups;
  if (hiddenSize % integerBetween(size, 'groups.size', 32, 128) !== 0) {
    throw new LMHeadError('SHAPE', `groups.size: got ${size}; want one that divides ${hiddenSize}`);
  }
  return { size, dtype: oneOf(dtype, 'groups.dtype', ['f16', 'bf16']) };
}

/** Bytes of shared memory, so many of them. */
function sharedBytes(array: unknown, name: string, count: number): Uint8Array {
  if (arrayType(array) !== 'Uint8Array') {
    throw new LMHeadError('ARGUMENT', `${name}: got ${got(array)}; want a Uint8Array`);
  }
  requireMemory(array as Uint8Array, name);
  const { buffer, byteOffset, length } = memoryOf(array as Uint8Array);
  if (length !== count || !isShared(buffer)) {
    throw new LMHeadError('SHAPE', `${name}: got ${length} bytes; want ${count} of shared memory`);
  }
  return new Uint8Array(buffer, byteOffset, length);
}

function shardOf(shard: NonNullable<Handle['shard']>, vocabSize: number, valid: number): Shard {
  optionsObject(shard, 'shard');
  const { range, origin } = shard;
  optionsObject(range, 'shard.range');
  optionsObject(origin, 'shard.origin');
  const { path, tensor, columns, unitRows, quantized } = origin;
  if (typeof path !== 'string' || typeof tensor !== 'string') {
    throw new LMHeadError('ARGUMENT', `shard.origin: got ${got(path)}; want a file and a tensor`);
  }
  return {
    range: shardRange({ index: range.index, count: range.count }, vocabSize, valid),
    origin: {
      path,
      tensor,
      columns: integerBetween(columns, 'shard.origin.columns', 1, 2 ** 32 - 1),
      unitRows: flag(unitRows, 'shard.origin.unitRows'),
      quantized:
        quantized === undefined
          ? undefined
          : oneOf<QuantizeTarget>(quantized, 'shard.origin.quantized', ['i8', 'q8_0']),
    },
  };
}

function wellFormed<T>(reading: () => T): T {
  try {
    return reading();
  } catch (cause) {
    const reason = cause instanceof LMHeadError ? ` (${cause.message})` : '';
    throw new LMHeadError(
      'ARGUMENT',
      `handle: got one that is damaged${reason}; want it passed on as it was`,
      { cause },
    );
  }
}
