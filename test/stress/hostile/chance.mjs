/** What a case of hostile arguments is made from: chance that its seed alone decides, and small things that all parts use. */
import { random } from '../random.mjs';

/** The sizes of every head. */
export const [V, D] = [70, 6];

/** What hostile code throws. */
export class Own extends Error {}
export const OWN_SYMBOL = Symbol('own');

export let dice = random(0);
export const below = limit => dice.below(limit);
/** @param {number} seed */
export function seedDice(seed) {
  dice = random(seed);
  for (let i = 0; i < 4; i++) below(2);
}
export const pick = list => list[below(list.length)];
export const numbers = length => Float32Array.from({ length }, (_, i) => Math.sin(i + 1));

/** Memory that another thread writes all the time: writer.mjs. */
export const changing = new SharedArrayBuffer(4 * 4 * V);
