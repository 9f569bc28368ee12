/** Which output arrays pending calls will write to. */
import { overlap } from '../arguments/arrays';
import { LMHeadError } from '../errors';

/** Of every head in this thread: the memory is what counts. */
const pending = new Set<Float32Array>();

/** Throws BUSY where a pending call will write to any byte of `out`. */
export function requireFree(out: Float32Array): void {
  if (pending.size === 0) return;
  for (const other of pending) {
    if (other === out || overlap(other, out)) {
      throw new LMHeadError(
        'BUSY',
        'out: got an array that a pending call will write to; want one that is free',
      );
    }
  }
}

/** From here until `release`, `out` is taken. */
export function lease(out: Float32Array): void {
  requireFree(out);
  pending.add(out);
}

export function release(out: Float32Array): void {
  pending.delete(out);
}
