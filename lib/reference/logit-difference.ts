/** How far some logits are from others, position by position. */
import type { LogitDifference } from '../types';

/** Sums of what `LogitDifference` has the means of, in float64. */
export class LogitDifferences {
  #positions = 0;
  #count = 0;
  #max = 0;
  #squares = 0;
  #divergence = 0;
  #agreeing = 0;

  /**
   * Of one position. What is −∞ on either side, as padding is, or beyond the other's end, has no difference, but may have probability.
   * @param u exact logits
   * @param approximate for the same ids; fewer or more of them
   */
  add(u: ArrayLike<number>, approximate: ArrayLike<number>): void {
    const [mine, its] = [summaryOf(u), summaryOf(approximate)];
    for (let id = 0; id < u.length; id++) {
      const other = id < approximate.length ? approximate[id] : Number.NEGATIVE_INFINITY;
      const logP = u[id] - mine.logSum;
      if (logP > Number.NEGATIVE_INFINITY) this.#divergence += Math.exp(logP) * (logP - (other - its.logSum));
      if (u[id] === Number.NEGATIVE_INFINITY || other === Number.NEGATIVE_INFINITY) continue;
      const difference = Math.abs(u[id] - other);
      this.#max = Math.max(this.#max, difference);
      this.#squares += difference * difference;
      this.#count++;
    }
    this.#positions++;
    if (mine.best === its.best) this.#agreeing++;
  }

  /** Those of other positions. */
  join(others: LogitDifferences): void {
    this.#positions += others.#positions;
    this.#count += others.#count;
    this.#max = Math.max(this.#max, others.#max);
    this.#squares += others.#squares;
    this.#divergence += others.#divergence;
    this.#agreeing += others.#agreeing;
  }

  result(): LogitDifference {
    return {
      positions: this.#positions,
      max: this.#max,
      rms: Math.sqrt(this.#squares / this.#count),
      klDivergence: this.#divergence / this.#positions,
      argmaxAgreement: this.#agreeing / this.#positions,
    };
  }
}

function summaryOf(u: ArrayLike<number>): { best: number; logSum: number } {
  let best = 0;
  for (let id = 1; id < u.length; id++) if (u[id] > u[best]) best = id;
  let sum = 0;
  for (let id = 0; id < u.length; id++) sum += Math.exp(u[id] - u[best]);
  return { best, logSum: u[best] + Math.log(sum) };
}
