/** One step of beam search, from what a pass tells of the likeliest tokens of each beam. */

import { lengthOf, newFloats, newWords } from '../arguments/arrays';
import { arrayType, got } from '../arguments/describe';
import { newDoubles } from '../arguments/patches';
import { isArray, reading } from '../arguments/reading';
import { LMHeadError } from '../errors';
import type { Beams, TopLogProbs } from '../types';
import { asJson } from './as-json';

/** As many as `topLogProbs` lists. */
export const MOST_BEAMS = 1000;

/** Reads the beams' own log-probabilities: n values, finite or -Infinity, which is that of a beam that is not to go on. */
export function beamScores(scores: unknown, n: number): Float64Array {
  return reading('scores', () => {
    const isTyped = arrayType(scores) === 'Float32Array' || arrayType(scores) === 'Float64Array';
    if (!isTyped && !isArray(scores)) {
      throw new LMHeadError(
        'ARGUMENT',
        `scores: got ${got(scores)}; want a Float64Array, a Float32Array or an array of numbers`,
      );
    }
    const list = scores as ArrayLike<unknown>;
    const length = isTyped ? lengthOf(scores as Float64Array) : list.length;
    if (length !== n)
      throw new LMHeadError('SHAPE', `scores: got ${length} elements; want ${n}, one per hidden state`);
    return Float64Array.from({ length: n }, (_, i) => {
      const score = list[i];
      if (typeof score === 'number' && score < Infinity) return score;
      throw new LMHeadError(
        typeof score === 'number' ? 'RANGE' : 'ARGUMENT',
        `scores[${i}]: got ${got(score)}; want a finite number, or -Infinity for a beam that is not to go on`,
      );
    });
  });
}

/**
 * The best continuations of all beams together.
 * @param list of each beam, the likeliest tokens, best first
 * @param most so many at most
 */
export function bestBeams(scores: Float64Array, list: TopLogProbs, most: number): Beams {
  const { k, counts, ids, logProbs } = list;
  const candidates: number[] = [];
  const sums = newDoubles(ids.length, 'beams');
  scores.forEach((score, beam) => {
    if (score === -Infinity) return;
    for (let i = 0; i < counts[beam]; i++) {
      const index = beam * k + i;
      sums[index] = score + logProbs[index];
      candidates.push(index);
    }
  });
  // A stable sort of what lies beam after beam, and of each by lower id among equals.
  candidates.sort((a, b) => (sums[a] === sums[b] ? 0 : sums[b] - sums[a]));
  const count = Math.min(most, candidates.length);
  const beams: Beams = asJson({
    parents: newWords(count, 'beams'),
    ids: newWords(count, 'beams'),
    scores: newDoubles(count, 'beams'),
    logProbs: newFloats(count, 'beams'),
  });
  for (let i = 0; i < count; i++) {
    const index = candidates[i];
    beams.parents[i] = Math.floor(index / k);
    beams.ids[i] = ids[index];
    beams.scores[i] = sums[index];
    beams.logProbs[i] = logProbs[index];
  }
  return beams;
}
