/** Which output arrays pending calls will write to. */
import { type MemoryKey, memoryKey, memoryOf } from '../arguments/arrays';
import { LMHeadError } from '../errors';

/** Bytes of a buffer, from `begin` to before `end`, as they were when they were leased: the array may go meanwhile. */
interface Lease {
  memory: MemoryKey;
  begin: number;
  end: number;
}

/** Of every head in this thread: the memory is what counts. */
const leases = new Map<Float32Array, Lease>();

/** Those of at least one byte, by memory and in order: as none overlap, their ends are in order too. */
const ordered = new Map<MemoryKey, Lease[]>();

/** The first of `list` that ends after `byte`. */
function leaseFrom(list: Lease[], byte: number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (list[middle].end > byte) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Throws BUSY where a pending call will write to any byte of `out`. */
export function requireFree(out: Float32Array): void {
  if (leases.size === 0) return;
  const { buffer, byteOffset, byteLength } = memoryOf(out);
  const list = ordered.get(memoryKey(buffer));
  const next = list?.[leaseFrom(list, byteOffset)];
  // An array whose memory went while a call will write to it lies nowhere, and is taken still.
  if (leases.has(out) || (next && next.begin < byteOffset + byteLength)) {
    throw new LMHeadError(
      'BUSY',
      'out: got an array that a pending call will write to; want one that is free',
    );
  }
}

/** From here until `release`, `out` is taken. */
export function lease(out: Float32Array): void {
  requireFree(out);
  const { buffer, byteOffset: begin, byteLength } = memoryOf(out);
  const memory = memoryKey(buffer);
  const taken = { memory, begin, end: begin + byteLength };
  leases.set(out, taken);
  if (byteLength === 0) return;
  const list = ordered.get(memory);
  if (list) list.splice(leaseFrom(list, begin), 0, taken);
  else ordered.set(memory, [taken]);
}

export function release(out: Float32Array): void {
  const { memory, begin, end } = leases.get(out)!;
  leases.delete(out);
  if (begin === end) return;
  const list = ordered.get(memory)!;
  if (list.length === 1) ordered.delete(memory);
  else list.splice(leaseFrom(list, begin), 1);
}
