/** The positions of a file of hidden states, a block at a time. */
import type { LMHead } from '../lm-head';
import { HiddenFile } from './npy-rows';
import type { Parsed } from './options';
import { count } from './output';
import { Progress } from './progress';
import { Interrupted, type Terminal } from './streams';

/** Enough that a pass over the weights serves many positions, few enough that hidden states are some megabytes. */
const MOST_POSITIONS = 512;
const MOST_NUMBERS = 2 ** 21;
/** The reference computes at once: nothing else is heard meanwhile, not even Ctrl-C. */
const MOST_PRODUCTS = 2 ** 28;

export interface BlockWork {
  /** Results of a position; default 1. */
  results?: number;
  /** Is told how many positions there are. */
  before?(count: number): Promise<void>;
  work(hidden: Float32Array, first: number): Promise<void>;
}

/** Runs `work` over all of them in order, writes what it prints after each block, and shows how far it is. */
export async function forEachBlock(
  head: LMHead,
  parsed: Parsed,
  { out, stderr, signal }: Terminal,
  { results = 1, before, work }: BlockWork,
): Promise<number> {
  const file = await HiddenFile.open(parsed.text('hidden')!, head.hiddenSize);
  const progress = new Progress({ stderr }, file.count, 'positions');
  let first = 0;
  try {
    await before?.(file.count);
    const most = blockSize(head, results);
    for (; first < file.count; first += most) {
      progress.update(first);
      await work(await file.read(first, Math.min(most, file.count - first)), first);
      await out.flush();
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new Interrupted(`after ${count(first)} of ${count(file.count)} positions`);
  } finally {
    progress.end();
    await file.close();
  }
  return file.count;
}

function blockSize({ backend, hiddenSize, vocabSize }: LMHead, results: number): number {
  const numbers = Math.max(hiddenSize, results);
  const atOnce = backend === 'reference' ? MOST_PRODUCTS / (hiddenSize * vocabSize) : MOST_POSITIONS;
  return Math.max(1, Math.min(MOST_POSITIONS, Math.floor(MOST_NUMBERS / numbers), Math.floor(atOnce)));
}
