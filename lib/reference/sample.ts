/** Draws a token from candidates by a race (the Gumbel-max trick): no sum, no sorting, and every token's chance its own. */
import { raceKey } from './exact-math';
import { type Stream, tokenBits } from './philox';

/**
 * The id with the largest u/T − log E, where E is an Exp(1) variate of the id's own: each wins with probability
 * e^(u/T)/Σe^(u/T). (−log E is a Gumbel variate.) Equal keys: the lowest id.
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
  let winner = -1;
  let best = -Infinity;
  for (const place of places) {
    const key = raceKey(u[place] / temperature, ...tokenBits(stream, idAt(place)));
    if (winner < 0 || key > best || (key === best && place < winner)) {
      best = key;
      winner = place;
    }
  }
  return winner;
}

/**
 * (u − max)/T − log Σ over the candidates alone: the logarithms of their probabilities, renormalised.
 * @param ids candidates, best first
 */
export function renormalisedLogProbs(u: Float32Array, ids: readonly number[], temperature: number): number[] {
  const exponents = ids.map(id => (u[id] - u[ids[0]]) / temperature);
  const logSum = Math.log(exponents.reduce((sum, x) => sum + Math.exp(x), 0));
  return exponents.map(x => x - logSum);
}
