/** What programs draw from that must run the same way twice: as test/support/random.ts, for JavaScript. */

/**
 * Marsaglia's xorshift32, from a state on. Who puts a state back draws the same again.
 * @param {number} seed
 */
export function random(seed) {
  const source = {
    state: Math.imul(seed + 1, 0x9e3779b1) || 1,
    /** @returns {number} from 0 to `limit` − 1 */
    below(limit) {
      source.state ^= source.state << 13;
      source.state ^= source.state >>> 17;
      source.state ^= source.state << 5;
      return (source.state >>> 0) % limit;
    },
  };
  return source;
}
