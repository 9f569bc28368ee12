/** What the tokens so far do to the logits of the next one. Pure functions of ids; docs/sampling.md has the sources. */

/**
 * For each token that would extend a sequence which occurred before: how many tokens of it are there already (the most, where
 * it occurred more than once). A sequence reaches back to the last breaker at most.
 * @param tokens the tokens so far, oldest first
 * @param breakers sequences of tokens; those of one token are never extensions
 * @param shortest lengths from here on count; at least 1
 */
export function repeatLengths(
  tokens: Uint32Array,
  breakers: readonly (readonly number[])[],
  shortest: number,
): Map<number, number> {
  const lengths = new Map<number, number>();
  const limit = tokens.length - endOfLastBreaker(tokens, breakers);
  if (limit < shortest) return lengths;
  const single = new Set(breakers.filter(breaker => breaker.length === 1).map(([token]) => token));
  const reversed = tokens.slice().reverse();
  const matches = prefixMatches(reversed);
  for (let k = 1; k < reversed.length; k++) {
    const length = Math.min(matches[k], limit);
    const next = reversed[k - 1];
    if (length >= shortest && !single.has(next)) lengths.set(next, Math.max(length, lengths.get(next) ?? 0));
  }
  return lengths;
}

/** Where the last breaker that is there as a whole ends; 0 if there is none. */
function endOfLastBreaker(tokens: Uint32Array, breakers: readonly (readonly number[])[]): number {
  for (let end = tokens.length; end > 0; end--) {
    for (const breaker of breakers) {
      const first = end - breaker.length;
      if (first >= 0 && breaker.every((token, i) => tokens[first + i] === token)) return end;
    }
  }
  return 0;
}

/** At each place, how many tokens from there on are those at the beginning. (The Z function: Gusfield, "Algorithms on Strings, Trees and Sequences", §1.3.) */
function prefixMatches(tokens: Uint32Array): Uint32Array {
  const matches = new Uint32Array(tokens.length);
  let begin = 0; // of the match that reaches furthest, and its end
  let end = 0;
  for (let k = 1; k < tokens.length; k++) {
    let length = k < end ? Math.min(matches[k - begin], end - k) : 0;
    while (k + length < tokens.length && tokens[length] === tokens[k + length]) length++;
    matches[k] = length;
    if (k + length > end) {
      begin = k;
      end = k + length;
    }
  }
  return matches;
}

/** Tokens that would complete an n-gram which occurred before. */
export function repeatedNgramEnds(tokens: Uint32Array, n: number): Set<number> {
  const ends = new Set<number>();
  const last = tokens.length - (n - 1);
  for (let first = 0; first < last; first++) {
    let same = 0;
    while (same < n - 1 && tokens[first + same] === tokens[last + same]) same++;
    if (same === n - 1) ends.add(tokens[first + n - 1]);
  }
  return ends;
}
