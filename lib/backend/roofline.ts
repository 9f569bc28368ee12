/** What the native side measures, for benchmarks and tests; not part of the API. */

import { passesOf } from '../head/head-properties';
import type { LMHead } from '../lm-head';
import { loadAddon } from './addon';
import type { NativeBackend } from './native';

/** Reads a native head's weights once, in place, on as many threads and in the same chunks as a pass; says seconds. */
export function readTimer(head: LMHead): () => number {
  const backend = passesOf(head).backend as NativeBackend;
  return () => backend.timeRead();
}

/** Float32 multiply-adds a second, from registers, on that many threads. */
export function multiplyAddRate(threads: number): number {
  return loadAddon().multiplyAddRate(threads);
}

/** Bytes outside of its heap that V8 knows of in this thread: array buffers, and what the addon has told it of. */
export function externalMemory(): number {
  return loadAddon().externalMemory();
}
