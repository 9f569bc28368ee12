/**
 * The peers: each makes log-probabilities, or as much of them as it can, from the same float32 weights and hidden states.
 * A peer that is not installed is a line that says so.
 */

/**
 * @typedef {object} Rival
 * @property {(hidden: Float32Array, n: number) => unknown} logProbs what is timed
 * @property {number} [mostRows] the largest n that it takes part in
 * @property {() => unknown} [close]
 *
 * @typedef {object} Peer
 * @property {string} name with its version
 * @property {(weights: Float32Array, vocabSize: number, d: number) => Promise<Rival>} prepare
 */

const PEERS = ['onnxruntime', 'simsimd', 'tfjs-wasm', 'stdlib'];

/** @returns {Promise<Peer[]>} those that are installed */
export async function loadPeers(say) {
  const loaded = [];
  for (const peer of PEERS) {
    try {
      loaded.push(await (await import(`./${peer}.mjs`)).load());
    } catch (error) {
      const why = String(error.message).split('\n')[0];
      say(`${peer} does not take part: ${why} (npm install --no-package-lock --prefix bench)`);
    }
  }
  return loaded;
}
