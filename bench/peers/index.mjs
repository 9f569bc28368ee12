/**
 * The peers: each makes log-probabilities, or logits at least, from the same float32 weights and hidden states. A peer that is
 * not installed is a line that says so.
 *
 * Their packages are installed without scripts, as every binary that is needed lies in them; onnxruntime's script would fetch
 * those for graphics cards too.
 */

/**
 * @typedef {object} Rival
 * @property {(hidden: Float32Array, n: number) => Float32Array | Promise<Float32Array>} run what is timed: [n, vocabSize]
 * @property {number} [mostRows] the largest n that it takes part in
 * @property {() => unknown} [close]
 *
 * @typedef {object} Peer
 * @property {string} name with its version
 * @property {'logProbs' | 'logits'} result
 * @property {(weights: Float32Array, vocabSize: number, d: number) => Promise<Rival>} prepare
 */

export const INSTALL = 'npm install --ignore-scripts --no-package-lock --prefix bench';
const PEERS = ['onnxruntime', 'simsimd', 'tfjs-wasm', 'stdlib'];

/** @returns {Promise<Peer[]>} those that are installed */
export async function loadPeers(say) {
  const loaded = [];
  for (const peer of PEERS) {
    try {
      loaded.push(await (await import(`./${peer}.mjs`)).load());
    } catch (error) {
      const why = String(error.message).split('\n')[0];
      say(`${peer} does not take part: ${why} (${INSTALL})`);
    }
  }
  return loaded;
}
