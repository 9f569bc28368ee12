/** How far some logits are from others, position by position. */
import type { LogitDifference } from '../types';

/** Sums of what `LogitDifference` has the means of. */
export class LogitDifferences {
  #positions = 0;
  #count = 0;
  #max = 0;
  #squares = 0;
  #divergence = 0;
  #agreeing = 0;

  /**
   * Of one position.
   * @param u exact logits, all that count
   * @param approximate as many
   */
  add(u: ArrayLike<number>, approximate: ArrayLike<number>): void {
    const [mine, its] = [summaryOf(u), summaryOf(approximate)];
    for (let id = 0; id < u.length; id++) {
      const difference = Math.abs(u[id] - approximate[id]);
      this.#max = Math.max(this.#max, difference);
      this.#squares += difference * difference;
      const logP = u[id] - mine.logSum;
      if (logP > Number.NEGATIVE_INFINITY)
        this.#divergence += Math.exp(logP) * (logP - (approximate[id] - its.logSum));
    }
    this.#positions++;
    this.#count += u.length;
    if (mine.best === its.best) this.#agreeing++;
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
