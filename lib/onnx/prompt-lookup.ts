/** Drafts from the text itself: what followed the last time when the same few tokens had come. */

/** How many of the last tokens have to agree, most first. */
const AGREE = [3, 2];

/** @returns at most `most` ids; none where the last tokens were not there before */
export function promptLookup(text: ArrayLike<number>, most: number): Uint32Array {
  const { length } = text;
  for (const size of AGREE) {
    for (let end = length - 1; end >= size; end--) {
      let same = 0;
      while (same < size && text[end - 1 - same] === text[length - 1 - same]) same++;
      if (same === size) {
        return Uint32Array.from({ length: Math.min(most, length - end) }, (_, i) => text[end + i]);
      }
    }
  }
  return new Uint32Array(0);
}
