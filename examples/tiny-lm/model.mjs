/**
 * What the model consists of: its sizes, its tensors by name, and its file.
 *
 * A causal transformer in the manner of Llama: in each layer attention and a feed-forward network (ReLU), each behind an
 * RMSNorm of its own and added to what came in. Positions are learned. The embedding matrix E [V,d] is the output matrix too.
 */
import { readSafetensors, writeSafetensors } from './safetensors.mjs';
import { Tokenizer } from './tokenizer.mjs';

/**
 * @typedef {import('./safetensors.mjs').Tensor} Tensor
 *
 * @typedef {object} Config
 * @property {number} vocabSize V
 * @property {number} hiddenSize d
 * @property {number} layers
 * @property {number} heads of attention; a divisor of d
 * @property {number} positions how many tokens the model can read
 * @property {number} eps of every RMSNorm
 *
 * @typedef {object} Model
 * @property {Config} config
 * @property {Record<string, Tensor>} tensors
 */

export const EMBEDDING = 'model.embed_tokens.weight';
export const POSITIONS = 'model.embed_positions.weight';
export const FINAL_NORM = 'model.norm.weight';

/**
 * Names of a layer's tensors.
 * @param {number} i
 */
export function layerNames(i) {
  const layer = `model.layers.${i}`;
  return {
    attentionNorm: `${layer}.input_layernorm.weight`,
    query: `${layer}.self_attn.q_proj.weight`,
    key: `${layer}.self_attn.k_proj.weight`,
    value: `${layer}.self_attn.v_proj.weight`,
    output: `${layer}.self_attn.o_proj.weight`,
    feedForwardNorm: `${layer}.post_attention_layernorm.weight`,
    up: `${layer}.mlp.up_proj.weight`,
    down: `${layer}.mlp.down_proj.weight`,
  };
}

/**
 * An untrained model: norms of ones, all else random.
 * @param {Config} config
 * @param {() => number} random
 * @returns {Model}
 */
export function newModel(config, random) {
  const { vocabSize, hiddenSize: d, layers, positions } = config;
  const ones = () => ({ shape: [d], values: new Float32Array(d).fill(1) });
  /** Numbers with mean 0 and this standard deviation. */
  const noise = (shape, deviation) => ({
    shape,
    values: Float32Array.from(
      { length: shape[0] * shape[1] },
      () => (2 * random() - 1) * Math.sqrt(3) * deviation,
    ),
  });
  /** So small that a row of outputs is about as long as a row of inputs. */
  const linear = (outputs, inputs) => noise([outputs, inputs], 1 / Math.sqrt(inputs));
  /** Smaller where the output is added to the hidden state, which so does not grow with the number of layers. */
  const added = inputs => noise([d, inputs], 1 / Math.sqrt(inputs * 2 * layers));

  const tensors = { [EMBEDDING]: noise([vocabSize, d], 0.05), [POSITIONS]: noise([positions, d], 0.05) };
  for (let i = 0; i < layers; i++) {
    const names = layerNames(i);
    tensors[names.attentionNorm] = ones();
    tensors[names.query] = linear(d, d);
    tensors[names.key] = linear(d, d);
    tensors[names.value] = linear(d, d);
    tensors[names.output] = added(d);
    tensors[names.feedForwardNorm] = ones();
    tensors[names.up] = linear(4 * d, d);
    tensors[names.down] = added(4 * d);
  }
  tensors[FINAL_NORM] = ones();
  return { config, tensors };
}

/**
 * RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467): x/√(mean(x²) + eps)·weight, row by row.
 * @param {Float32Array} x [n,d]
 * @param {Float32Array} weight [d]
 * @param {number} eps
 * @returns {Float32Array} [n,d]
 */
export function rmsNorm(x, weight, eps) {
  const d = weight.length;
  const result = new Float32Array(x.length);
  for (let row = 0; row < x.length; row += d) {
    const scale = inverseRms(x, row, d, eps);
    for (let k = 0; k < d; k++) result[row + k] = x[row + k] * scale * weight[k];
  }
  return result;
}

/** 1/√(mean(x²) + eps) of the d numbers from `row` on. */
export function inverseRms(x, row, d, eps) {
  let square = 0;
  for (let k = 0; k < d; k++) square += x[row + k] ** 2;
  return 1 / Math.sqrt(square / d + eps);
}

/**
 * The final norm, as `LMHead.open` and `LMHead.from` take it.
 * @param {Model} model
 */
export function finalNorm({ config, tensors }) {
  return { type: /** @type {const} */ ('rmsnorm'), weight: tensors[FINAL_NORM].values, eps: config.eps };
}

/** Of each number in the file, which is a third smaller for it where it is packed. */
const KEPT_BITS = 12;

/**
 * Numbers rounded to nearest.
 * @param {Float32Array} values
 * @param {number} bits of 24
 */
function significantBits(values, bits) {
  const unit = 2 ** (24 - bits);
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return new Float32Array(words.map(word => Math.floor((word + unit / 2) / unit) * unit).buffer);
}

/**
 * @param {string | URL} path
 * @param {Model} model
 * @param {Tokenizer} tokenizer
 */
export function saveModel(path, { config, tensors }, tokenizer) {
  const shortened = Object.entries(tensors).map(([name, { shape, values }]) => [
    name,
    { shape, values: significantBits(values, KEPT_BITS) },
  ]);
  writeSafetensors(path, Object.fromEntries(shortened), {
    config: JSON.stringify(config),
    vocabulary: JSON.stringify(tokenizer.vocabulary),
  });
}

/**
 * @param {string | URL} path
 * @returns {Model & { tokenizer: Tokenizer }}
 */
export function loadModel(path) {
  const { tensors, metadata } = readSafetensors(path);
  return {
    config: JSON.parse(metadata.config),
    tensors,
    tokenizer: new Tokenizer(JSON.parse(metadata.vocabulary)),
  };
}
