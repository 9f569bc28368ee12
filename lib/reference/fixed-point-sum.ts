/** Sums that do not depend on the order of their terms. */

/** What a mass is counted in. */
export const MASS_UNIT = 2 ** -52;

/** A sum of integers, ⌊w·2^52⌋ for w from 0 to 1: exact for up to 2^27 of them, and so the same in any order. */
export class FixedPointSum {
  #low = 0;
  #high = 0;

  add(w: number): void {
    const whole = Math.floor(w / MASS_UNIT);
    const high = Math.floor(whole / 2 ** 26);
    this.#high += high;
    this.#low += whole - high * 2 ** 26;
  }

  get value(): number {
    return this.#high * 2 ** 26 + this.#low;
  }
}
