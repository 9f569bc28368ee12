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

/** In the order of native/core/roofline.h. */
const MULTIPLIED = ['f32', 'bf16', 'i8'] as const;

/** Multiply-adds a second, from registers, on that many threads; 0 where no instructions of their own multiply that type. */
export function multiplyAddRate(threads: number, type: (typeof MULTIPLIED)[number] = 'f32'): number {
  return loadAddon().multiplyAddRate(threads, MULTIPLIED.indexOf(type));
}

/** Bytes outside of its heap that V8 knows of in this thread: array buffers, and what the addon has told it of. */
export function externalMemory(): number {
  return loadAddon().externalMemory();
}
