/** For which weights a head may have a bounded copy; see docs/screening.md. */
import type { HeadSpec } from '../backend/backend';
import { rowBytes } from '../dtypes/row-format';
import { LMHeadError } from '../errors';

/** Of a weight, at least: the copy has a little more than 4 of each, and has to be read besides. */
const LEAST_BITS = 5;
/** Of a row, at most. */
const MOST_COLUMNS = 2 ** 16;

/** @throws LMHeadError DTYPE, RANGE: reading a copy first would gain nothing, or there is none for such weights */
export function requireScreenable({
  output: { dtype },
  hiddenSize,
  activations,
}: Pick<HeadSpec, 'output' | 'hiddenSize' | 'activations'>): void {
  const bits = (8 * rowBytes(dtype, hiddenSize)) / hiddenSize;
  if (bits < LEAST_BITS) {
    throw new LMHeadError(
      'DTYPE',
      `screen: got true for weights in ${dtype}, of ${bits} bits each; want a dtype of at least ${LEAST_BITS}, as the copy to be read first has more than 4`,
    );
  }
  if (hiddenSize > MOST_COLUMNS) {
    throw new LMHeadError(
      'RANGE',
      `screen: got true for a hiddenSize of ${hiddenSize}; want at most ${MOST_COLUMNS}`,
    );
  }
  if (activations !== 'f32') {
    throw new LMHeadError(
      'RANGE',
      `screen: got true with activations '${activations}'; want 'f32', whose products the bound is for`,
    );
  }
}
