/** Classifier-free guidance: hidden states between which, or beyond which, the logits are taken. docs/sampling.md has the source. */
import type { HeadSettings } from '../arguments/head-options';
import { type HiddenRows, hiddenRows } from '../arguments/hidden';
import { reading } from '../arguments/reading';
import { isPerRow } from '../arguments/row-parameters';
import { finiteNumber, optionsObject } from '../arguments/values';
import { LMHeadError } from '../errors';

/** The option, read. */
export interface Guidance {
  /** What a call without the condition has made. */
  states: HiddenRows;
  /** Of each row. */
  scales: Float64Array;
}

/**
 * @param rows those that the call is about
 * @throws LMHeadError RANGE for a head with a soft-cap, SHAPE, DTYPE, ARGUMENT
 */
export function guidanceOf(
  value: unknown,
  { n }: HiddenRows,
  hiddenSize: number,
  hiddenDtype: unknown,
  { epilogue: { softCap } }: HeadSettings,
): Guidance {
  optionsObject(value, 'guidance');
  const { hidden, scale } = reading('guidance', () => {
    const { hidden, scale } = value as { hidden?: unknown; scale?: unknown };
    return { hidden, scale };
  });
  if (softCap !== 0) {
    throw new LMHeadError(
      'RANGE',
      `guidance: got it for a head with a soft-cap of ${softCap}; want one without, whose logits are linear in the hidden state`,
    );
  }
  const states = hiddenRows(hidden, hiddenSize, hiddenDtype, 'guidance.hidden');
  if (states.n !== n) {
    throw new LMHeadError('SHAPE', `guidance.hidden: got ${states.n} hidden states; want ${n}, as in hidden`);
  }
  const name = 'guidance.scale';
  const scales = reading(name, () => {
    if (!isPerRow(scale, name, n)) return new Float64Array(n).fill(finiteNumber(scale, name));
    return Float64Array.from({ length: n }, (_, row) => finiteNumber(scale[row], `${name}[${row}]`));
  });
  return { states, scales };
}

/**
 * unconditional + scale·(conditional − unconditional), in float64, rounded once: logits are linear in it, and so are those that
 * guidance makes of theirs.
 * @param conditional [n,d]
 * @param unconditional [n,d]
 * @returns [n,d]
 */
export function guidedStates(
  conditional: Float32Array,
  unconditional: Float32Array,
  scales: Float64Array,
  d: number,
): Float32Array {
  return conditional.map((h, i) => {
    const other = unconditional[i];
    return other + scales[Math.floor(i / d)] * (h - other);
  });
}
