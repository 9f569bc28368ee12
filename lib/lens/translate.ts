/** The tuned lens: an affine map per layer between its hidden states and the final norm. */
import { float32ArrayOf, newFloats } from '../arguments/arrays';
import { got } from '../arguments/describe';
import { type HiddenRows, requireStill } from '../arguments/hidden';
import { readOptions, TRANSLATOR_OPTIONS } from '../arguments/option-names';
import { isArray, reading } from '../arguments/reading';
import { flag } from '../arguments/values';
import { floats } from '../dtypes/half';
import { LMHeadError } from '../errors';
import type { HeadPasses } from '../head/passes';
import type { Hidden, LensOptions, Translator } from '../types';

/** With its arguments checked. */
interface Map {
  weight: Float32Array;
  bias: Float32Array | undefined;
  residual: boolean;
}

/** The states that a lens looks at, and the other options of the call. */
export function lensStates<O extends LensOptions>(
  passes: HeadPasses,
  hidden: Hidden,
  options: O | undefined,
): [states: Hidden, rest: Omit<O, 'translators'> | undefined] {
  if (options === undefined) return [hidden, undefined];
  const { translators, ...rest } = options;
  if (translators === undefined) return [hidden, rest];
  const states = translated(passes.rows(hidden, rest), passes.hiddenSize, translators);
  return [states, { ...rest, hiddenDtype: undefined }];
}

/**
 * h' = A·h + b, or h + A·h + b where it is residual: in float64, terms in the order of k, rounded once.
 * @param translators one per layer of n / translators.length rows each
 * @returns [n,d]
 * @throws LMHeadError ARGUMENT, SHAPE
 */
export function translated({ data, dtype, n }: HiddenRows, d: number, translators: unknown): Float32Array {
  const maps = reading('translators', () => mapsOf(translators, n, d));
  // Their getters may have run any code.
  requireStill(data, n * d);
  const hidden = floats(data, dtype);
  const result = newFloats(n * d, 'hidden');
  const rows = n / maps.length;
  for (let row = 0; row < n; row++) {
    const h = hidden.subarray(row * d, (row + 1) * d);
    const map = maps[Math.floor(row / rows)];
    if (!map) {
      result.set(h, row * d);
      continue;
    }
    const { weight, bias, residual } = map;
    for (let i = 0; i < d; i++) {
      let sum = 0;
      for (let k = 0; k < d; k++) sum += weight[i * d + k] * h[k];
      if (bias) sum += bias[i];
      result[row * d + i] = residual ? h[i] + sum : sum;
    }
  }
  return result;
}

function mapsOf(translators: unknown, n: number, d: number): (Map | undefined)[] {
  if (!isArray(translators))
    throw new LMHeadError('ARGUMENT', `translators: got ${got(translators)}; want an array, one per layer`);
  const { length } = translators;
  if (length === 0 || n % length !== 0)
    throw new LMHeadError(
      'SHAPE',
      `translators: got ${length} for ${n} hidden states; want one per layer, each for as many of them`,
    );
  return Array.from({ length }, (_, i) => {
    const given = translators[i];
    if (given === undefined || given === null) return undefined;
    const name = `translators[${i}]`;
    const { weight, bias, residual } = readOptions(given as Translator, TRANSLATOR_OPTIONS, name);
    return {
      weight: float32ArrayOf(weight, `${name}.weight`, d * d, 'hiddenSize²'),
      bias: bias === undefined ? undefined : float32ArrayOf(bias, `${name}.bias`, d, 'hiddenSize'),
      residual: flag(residual, `${name}.residual`),
    };
  });
}
