/** How a published family stores its head, and what its code computes. */
import { someNumbers } from '../../support/numbers';

export const V = 11;
export const D = 8;
export const tensor = {
  output: someNumbers(V * D, 2),
  embedding: someNumbers(V * D, 3),
  bias: someNumbers(V, 4),
  normWeight: someNumbers(D, 5),
  normBias: someNumbers(D, 6),
};

export interface Family {
  config: object;
  /** Names of the tensors there are. */
  embedding: string;
  output?: string;
  bias?: string;
  biasShape?: number[];
  norm?: string;
  normBias?: string;
  /** Tensors that a head must not be made of: norms and embeddings of other parts. */
  others?: Record<string, number[]>;
  /** What the model's code computes; absent: it has no norm between the last layer and the head. */
  normOf?: (h: Float32Array) => number[];
  logit?: (dot: number) => number;
  unitRows?: true;
  embeds?: number;
}

const mean = (h: ArrayLike<number>) => Array.from(h).reduce((sum, x) => sum + x, 0) / h.length;
export const meanSquare = (h: ArrayLike<number>) => mean(Array.from(h, x => x * x));
export const layerNorm =
  (eps: number, { bias = true, offset = 0, weight = true } = {}) =>
  (h: Float32Array) => {
    const m = mean(h);
    const scale = 1 / Math.sqrt(mean(Array.from(h, x => (x - m) ** 2)) + eps);
    return Array.from(
      h,
      (x, k) =>
        (x - m) * scale * ((weight ? tensor.normWeight[k] : 1) + offset) + (bias ? tensor.normBias[k] : 0),
    );
  };
export const rmsNorm =
  (eps: number, offset = 0) =>
  (h: Float32Array) => {
    const scale = 1 / Math.sqrt(meanSquare(h) + eps);
    return Array.from(h, (x, k) => x * scale * (tensor.normWeight[k] + offset));
  };

export const llamaNames = { embedding: 'model.embed_tokens.weight', norm: 'model.norm.weight' };
export const gptNames = {
  embedding: 'transformer.wte.weight',
  norm: 'transformer.ln_f.weight',
  normBias: 'transformer.ln_f.bias',
};
export const sizes = { vocab_size: V, hidden_size: D };

export type Families = Record<string, Family>;
