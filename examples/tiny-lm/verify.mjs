/** Compares the head's results for a story's hidden states with those of the reference in plain TypeScript. */
import { rmsNorm } from './model.mjs';

/**
 * @param {object} story as `continueStory` returned it
 * @param {import('../../dist/index.mjs').LMHead} story.head
 * @param {{ weight: Float32Array, eps: number }} story.norm
 * @param {Float32Array} story.hidden before the final norm
 * @param {(line: string) => void} [log]
 * @returns {Promise<boolean>} are all logits within their bounds?
 */
export async function verifyHead({ head, norm, hidden }, log = console.log) {
  const { ok, maxError, bound, argmaxAgrees } = await head.verify(rmsNorm(hidden, norm.weight, norm.eps));
  const same = argmaxAgrees ? 'the best tokens agree' : 'THE BEST TOKENS DIFFER';
  const logits = (hidden.length / head.hiddenSize) * head.vocabSize;
  log(
    `${logits} logits, ${head.backend} against the float64 reference: ` +
      `max error ${maxError.toExponential(1)}, bound ${bound.toExponential(1)}, ${same}`,
  );
  return ok;
}
