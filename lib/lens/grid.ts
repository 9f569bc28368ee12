/** The logit lens over layers and positions: what each layer would say, and how far that is from the last layer's word. */
import { newFloats, newWords } from '../arguments/arrays';
import type { LMHead } from '../lm-head';

/** Rows are [layers, positions]: that of layer l and position p is l·positions + p. */
export interface LensGrid {
  layers: number;
  positions: number;
  /** The k best of each, as `topK` has them: [layers·positions, k]. */
  k: number;
  ids: Uint32Array;
  logits: Float32Array;
  logProbs: Float32Array;
  /** [layers·positions] */
  logSumExp: Float32Array;
  /** [layers·positions], nats */
  entropy: Float32Array;
  /** [layers·positions]: the place, from 1, of the token that the last layer has first at that position. */
  ranks: Uint32Array;
  /** [layers·positions]: Σ p·(log p − log q) in nats, p of the last layer and q of this one. */
  klDivergence: Float32Array;
}

/** Hidden states of some positions, [layers, positions, d]. */
export interface LensStates {
  hidden: Float32Array;
  layers: number;
  positions: number;
}

/** Logits that are held at a time, and positions for which they are. */
const MOST_HELD = 2 ** 25;

/** Positions of so many layers that are computed together. */
export function positionsAtOnce({ vocabSize, hiddenSize, backend }: LMHead, layers: number): number {
  const most = backend === 'reference' ? 2 ** 28 / hiddenSize : MOST_HELD;
  return Math.max(1, Math.min(256, Math.floor(most / (layers * vocabSize))));
}

/**
 * @param lastNormed is the last layer's state already behind the final norm?
 * @throws as `head.run` does
 */
export async function lensGrid(
  head: LMHead,
  { hidden, layers, positions }: LensStates,
  k: number,
  { lastNormed = false, signal }: { lastNormed?: boolean; signal?: AbortSignal } = {},
): Promise<LensGrid> {
  const d = head.hiddenSize;
  const V = head.vocabSize;
  const split = (layers - 1) * positions * d;
  const [before, last] = [hidden.subarray(0, split), hidden.subarray(split)];
  const request = { top: k, entropy: true, logProbs: true, signal } as const;
  const finals = await head.argmax(last, { norm: !lastNormed, signal });
  const end = await head.run(last, { ...request, targets: finals, norm: !lastNormed });
  const targets = Uint32Array.from({ length: (layers - 1) * positions }, (_, i) => finals[i % positions]);
  const start = await head.run(before, { ...request, targets, norm: true });

  const n = layers * positions;
  const floats = (a: Float32Array, b: Float32Array, name: string) => {
    const all = newFloats(a.length + b.length, name);
    all.set(a);
    all.set(b, a.length);
    return all;
  };
  const words = (a: Uint32Array, b: Uint32Array, name: string) => {
    const all = newWords(a.length + b.length, name);
    all.set(a);
    all.set(b, a.length);
    return all;
  };
  return {
    layers,
    positions,
    k,
    ids: words(start.top.ids, end.top.ids, 'ids'),
    logits: floats(start.top.logits, end.top.logits, 'logits'),
    logProbs: floats(start.top.logProbs, end.top.logProbs, 'logProbs'),
    logSumExp: floats(start.logSumExp, end.logSumExp, 'logSumExp'),
    entropy: floats(start.score.entropy!, end.score.entropy!, 'entropy'),
    ranks: words(start.score.ranks, end.score.ranks, 'ranks'),
    klDivergence: Float32Array.from({ length: n }, (_, row) =>
      row < (layers - 1) * positions
        ? divergence(end.logProbs, (row % positions) * V, start.logProbs, row * V, V)
        : 0,
    ),
  };
}

/** Of V log-probabilities from `i` of p and from `j` of q. */
function divergence(p: Float32Array, i: number, q: Float32Array, j: number, V: number): number {
  let sum = 0;
  for (let id = 0; id < V; id++) {
    const logP = p[i + id];
    if (logP > Number.NEGATIVE_INFINITY) sum += Math.exp(logP) * (logP - q[j + id]);
  }
  // Of equal distributions rounding may leave a little less than nothing.
  return Math.max(0, sum);
}
