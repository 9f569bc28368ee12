/** The logit lens over layers and positions: what each layer would say, and how far that is from the last layer's word. */
import { newFloats, newWords } from '../arguments/arrays';
import { LMHeadError } from '../errors';
import type { LMHead } from '../lm-head';
import type { Translator } from '../types';
import { translated } from './translate';

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
  /** [layers·positions]: the rank, from 1, of the token that the last layer has first at that position. */
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

export interface LensGridOptions {
  /** Is the last layer's state already behind the final norm? */
  lastNormed?: boolean;
  /** Of the first layers; those after them have none. */
  translators?: readonly (Translator | undefined)[];
  signal?: AbortSignal;
}

function throughTranslators(
  hidden: Float32Array,
  layers: number,
  positions: number,
  d: number,
  translators: readonly (Translator | undefined)[],
): Float32Array {
  if (translators.length > layers)
    throw new LMHeadError(
      'SHAPE',
      `translators: got ${translators.length} for ${layers} layers; want one per layer at most`,
    );
  const all = Array.from({ length: layers }, (_, layer) => translators[layer]);
  return translated({ data: hidden, dtype: 'f32', n: layers * positions }, d, all);
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
  { lastNormed = false, translators, signal }: LensGridOptions = {},
): Promise<LensGrid> {
  const d = head.hiddenSize;
  const V = head.vocabSize;
  const split = (layers - 1) * positions * d;
  const states = translators ? throughTranslators(hidden, layers, positions, d, translators) : hidden;
  const [before, last] = [states.subarray(0, split), states.subarray(split)];
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

/** Those of several positions each, of the same layers and k, side by side. */
export function joinGrids(grids: readonly LensGrid[]): LensGrid {
  const [{ layers, k }] = grids;
  const positions = grids.reduce((sum, grid) => sum + grid.positions, 0);
  const n = layers * positions;
  const joined: LensGrid = {
    ...{ layers, positions, k },
    ids: newWords(n * k, 'ids'),
    logits: newFloats(n * k, 'logits'),
    logProbs: newFloats(n * k, 'logProbs'),
    logSumExp: newFloats(n, 'logSumExp'),
    entropy: newFloats(n, 'entropy'),
    ranks: newWords(n, 'ranks'),
    klDivergence: newFloats(n, 'klDivergence'),
  };
  for (let layer = 0; layer < layers; layer++) {
    let to = layer * positions;
    for (const grid of grids) {
      const from = layer * grid.positions;
      const end = from + grid.positions;
      for (const name of ['ids', 'logits', 'logProbs'] as const)
        joined[name].set(grid[name].subarray(from * k, end * k), to * k);
      for (const name of ['logSumExp', 'entropy', 'ranks', 'klDivergence'] as const)
        joined[name].set(grid[name].subarray(from, end), to);
      to += grid.positions;
    }
  }
  return joined;
}
