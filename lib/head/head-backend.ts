/** From the parts of a head to what computes: natively or by the reference, a shard's, with a copy to search in. */
import { requireScreenable } from '../arguments/screenable';
import type { HeadBackend, HeadSpec } from '../backend/backend';
import { type BackendKind, createHead } from '../backend/choose';
import { LMHeadError } from '../errors';
import { type Shard, ShardBackend } from '../shard/backend';

interface Parts {
  spec: HeadSpec;
  shard?: Shard;
}

/** Between two reports of how far a copy is, in milliseconds. */
const PROGRESS_INTERVAL = 100;

/** @throws what createHead does */
export function backendOfParts(kind: BackendKind, { spec, shard }: Parts): HeadBackend {
  if (!shard) return createHead(kind, spec);
  if (spec.screen) {
    throw new LMHeadError(
      'RANGE',
      'screen: got true beside shard; want one of them, as a part of the vocabulary has no best ids of its own',
    );
  }
  return new ShardBackend(kind, spec, shard);
}

/** The same, while the event loop runs on: the copy of a head that screens is made on the native side's threads. */
export async function backendOfPartsAsync(
  kind: BackendKind,
  { spec, shard }: Parts,
  signal?: AbortSignal,
  onProgress?: (share: number) => void,
): Promise<HeadBackend> {
  if (!spec.screen || spec.savedCopy || shard) return backendOfParts(kind, { spec, shard });
  requireScreenable(spec);
  const backend = createHead(kind, { ...spec, screen: false });
  try {
    await makeCopy(backend, spec.vocabSize, signal, onProgress);
    backend.useCopy();
    return backend;
  } catch (error) {
    backend.close();
    throw error;
  }
}

async function makeCopy(
  backend: HeadBackend,
  rows: number,
  signal?: AbortSignal,
  onProgress?: (share: number) => void,
): Promise<void> {
  if (!onProgress) return backend.makeCopy(signal);
  const failing = new AbortController();
  const timer = setInterval(() => {
    try {
      onProgress(Math.min(1, backend.copiedRows() / rows));
    } catch (error) {
      failing.abort(error);
    }
  }, PROGRESS_INTERVAL);
  try {
    await backend.makeCopy(AbortSignal.any(signal ? [signal, failing.signal] : [failing.signal]));
  } catch (error) {
    throw failing.signal.aborted ? failing.signal.reason : error;
  } finally {
    clearInterval(timer);
  }
  onProgress(1);
}
