/** Chance, which a seed alone decides. */
let state = 0;

/** @param {number} seed */
export function seedChance(seed) {
  state = seed >>> 0;
}

export function bits() {
  state = (state + 0x9e3779b9) >>> 0;
  let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return (z ^ (z >>> 15)) >>> 0;
}
export const below = n => bits() % n;
export const chance = (one, of = 100) => below(of) < one;
export const pick = list => list[below(list.length)];
