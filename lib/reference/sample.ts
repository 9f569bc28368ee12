/** Draws a token from candidates by a race (the Gumbel-max trick): no sum, no sorting, and every token's chance its own. */
import { expNegative, logPositive, raceKey } from './exact-math';
import { FixedPointSum, MASS_UNIT } from './fixed-point-sum';
import { type Stream, tokenBits } from './philox';

/**
 * The id with the largest u/T − log E, where E is an Exp(1) variate of the id's own: each wins with probability
 * e^(u/T)/Σe^(u/T). (−log E is a Gumbel variate.)
 * @param u logits
 * @param places candidates' places in `u`, at least one
 * @param idAt the id at a place, ascending with it
 * @returns the winner's place
 */
export function race(
  u: Float32Array,
  places: readonly number[],
  temperature: number,
  stream: Stream,
  idAt: (place: number) => number = place => place,
): number {
  return first(places.map(place => runnerAt(place, u[place], temperature, stream, idAt(place)))).place;
}

/** What an id brings to a race. */
export function runnerAt(
  place: number,
  logit: number,
  temperature: number,
  stream: Stream,
  id: number,
): Runner {
  const [high, low] = tokenBits(stream, id);
  return { place, key: raceKey(logit / temperature, high, low), logit, high, low };
}

/** Who wins. */
export function first(runners: readonly Runner[]): Runner {
  return runners.reduce((winner, runner) => (isAhead(runner, winner) ? runner : winner));
}

export interface Runner {
  place: number;
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
  return a.place < b.place;
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
