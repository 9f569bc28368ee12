/** The positions of a file of hidden states, a block at a time. */
import type { LMHead } from '../lm-head';
import type { Streams } from './main';
import { HiddenFile } from './npy-rows';
import type { Parsed } from './options';
import { Progress } from './progress';

/** Enough that a pass over the weights serves many positions, few enough that hidden states are some megabytes. */
const MOST_POSITIONS = 512;
const MOST_NUMBERS = 2 ** 21;

/** Runs `work` over all of them in order, and shows how far it is. */
export async function forEachBlock(
  head: LMHead,
  parsed: Parsed,
  streams: Streams,
  work: (hidden: Float32Array, first: number) => Promise<void>,
  before?: (count: number) => Promise<void>,
): Promise<number> {
  const file = await HiddenFile.open(parsed.text('hidden')!, head.hiddenSize);
  const progress = new Progress(streams, file.count, 'positions');
  try {
    await before?.(file.count);
    const most = Math.max(1, Math.min(MOST_POSITIONS, Math.floor(MOST_NUMBERS / head.hiddenSize)));
    for (let first = 0; first < file.count; first += most) {
      progress.update(first);
      await work(await file.read(first, Math.min(most, file.count - first)), first);
    }
  } finally {
    progress.end();
    await file.close();
  }
  return file.count;
}
