/** Draws a token from candidates by the Gumbel-max trick: no sum, no sorting, and every token's chance its own. */
import { expNegative, gumbelKey, logPositive } from './exact-math';
import { FixedPointSum, MASS_UNIT } from './fixed-point-sum';
import { type Stream, tokenBits } from './philox';

/**
 * The id with the largest u/T − log E, where E is an Exp(1) variate of the id's own: each wins with probability
 * e^(u/T)/Σe^(u/T). (−log E is a Gumbel variate.)
 * @param u logits
 * @param indices local indices of the candidates in `u`, at least one
 * @param idAt the id at a local index, ascending with it
 * @returns the winner's index
 */
export function gumbelMax(
  u: Float32Array,
  indices: readonly number[],
  temperature: number,
  stream: Stream,
  idAt: (index: number) => number = index => index,
): number {
  return first(indices.map(index => runnerAt(index, u[index], temperature, stream, idAt(index)))).index;
}

/** What an id's perturbed logit is made of. */
export function runnerAt(
  index: number,
  logit: number,
  temperature: number,
  stream: Stream,
  id: number,
): Runner {
  const [high, low] = tokenBits(stream, id);
  return { index, key: gumbelKey(logit / temperature, high, low), logit, high, low };
}

/** The one that is drawn. */
export function first(runners: readonly Runner[]): Runner {
  return runners.reduce((winner, runner) => (isAhead(runner, winner) ? runner : winner));
}

export interface Runner {
  index: number;
  key: number;
  logit: number;
  /** Its random bits: the lower, the larger is what they add to the key. */
  high: number;
  low: number;
}

/**
 * Keys are equal at so low a temperature that quotients overflow, or are so large that nothing is left of what the bits add to
 * them. Then what they are made of decides.
 */
function isAhead(a: Runner, b: Runner): boolean {
  if (a.key !== b.key) return a.key > b.key;
  if (a.logit !== b.logit) return a.logit > b.logit;
  if (a.high !== b.high) return a.high < b.high;
  if (a.low !== b.low) return a.low < b.low;
  return a.index < b.index;
}

/**
 * (u − max)/T − log Σ over the candidates alone: the logarithms of their probabilities, renormalized. The sum is of integers, so that
 * it does not depend on their order.
 * @param ids candidates, best first
 */
export function renormalizedLogProbs(u: Float32Array, ids: readonly number[], temperature: number): number[] {
  const exponents = ids.map(id => (u[id] - u[ids[0]]) / temperature);
  const sum = new FixedPointSum();
  for (const x of exponents) sum.add(expNegative(x));
  const logSum = logPositive(sum.value * MASS_UNIT);
  return exponents.map(x => x - logSum);
}
