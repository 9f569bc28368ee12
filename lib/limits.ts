/** What this machine can do at most, as the native core measures it. For the benchmark; not part of the API. */
import { loadAddon } from './addon';
import type { HeadSpec } from './backend';
import { nativeHead } from './native-backend';

/** Seconds to read a head's weights once, on as many threads and in the same chunks as a pass. */
export function readTimer(spec: HeadSpec, threads: number): () => number {
  const head = nativeHead(loadAddon(), spec, threads);
  return () => head.timeRead();
}

/** Float32 multiply-adds a second, from registers, on that many threads. */
export function multiplyAddRate(threads: number): number {
  return loadAddon().multiplyAddRate(threads);
}
