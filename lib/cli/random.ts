/** Numbers that look random and are the same every time. */

/** A stream of normally distributed numbers (Box and Muller, over a multiply-with-carry generator of 32 bits). */
export function normalNumbers(seed: number): () => number {
  let state = BigInt(seed) * 0x9e3779b97f4a7c15n + 1n;
  const uniform = () => {
    state = BigInt.asUintN(64, (state & 0xffffffffn) * 4294957665n + (state >> 32n));
    return (Number(state & 0xffffffffn) + 0.5) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}
