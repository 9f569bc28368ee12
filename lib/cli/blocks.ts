/** The positions of a file of hidden states, a block at a time. */
import type { LMHead } from '../lm-head';
import { HiddenFile } from './npy-rows';
import type { Parsed } from './options';
import { count as countText } from './output';
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
  /** What is to be said when all are done; or so many of them, when a signal has stopped it. */
  summary?(done: number, complete: boolean): string;
}

/** Runs `work` over all of them in order, writes what it prints after each block, and shows how far it is. */
export async function forEachBlock(
  head: LMHead,
  parsed: Parsed,
  terminal: Terminal,
  { results = 1, before, work, summary }: BlockWork,
): Promise<number> {
  const { out, signal } = terminal;
  const file = await HiddenFile.open(parsed.text('hidden')!, head.hiddenSize, terminal);
  const count = Math.min(file.count, parsed.number('limit') ?? Infinity);
  const progress = new Progress(terminal, count, 'positions');
  let first = 0;
  try {
    await before?.(file.count);
    const most = blockSize(head, results);
    while (first < count) {
      progress.update(first);
      const n = Math.min(most, count - first);
      await work(await file.read(first, n), first);
      first += n;
      await out.flush();
    }
    if (summary) await out.write(summary(count, true));
  } catch (error) {
    if (!signal.aborted) throw error;
    progress.end();
    if (summary && first > 0) await out.last(summary(first, false));
    throw new Interrupted(`after ${countText(first)} of ${countText(count)} positions`);
  } finally {
    progress.end();
    await file.close();
  }
  return count;
}

function blockSize({ backend, hiddenSize, vocabSize }: LMHead, results: number): number {
  const numbers = Math.max(hiddenSize, results);
  const atOnce = backend === 'reference' ? MOST_PRODUCTS / (hiddenSize * vocabSize) : MOST_POSITIONS;
  return Math.max(1, Math.min(MOST_POSITIONS, Math.floor(MOST_NUMBERS / numbers), Math.floor(atOnce)));
}
