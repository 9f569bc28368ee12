/** One listener per AbortSignal, however many calls it is to cancel: Node warns of more than a few. */

const waiting = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Calls `callback` when the signal fires.
 * @returns what to call when the callback is no longer wanted
 */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  let callbacks = waiting.get(signal);
  if (!callbacks) {
    callbacks = new Set();
    waiting.set(signal, callbacks);
  }
  const mine = callbacks;
  if (mine.size === 0) signal.addEventListener('abort', fire, { once: true });
  mine.add(callback);
  return () => {
    if (mine.delete(callback) && mine.size === 0) signal.removeEventListener('abort', fire);
  };
}

function fire(event: Event): void {
  const callbacks = waiting.get(event.target as AbortSignal)!;
  for (const callback of [...callbacks]) callback();
  callbacks.clear();
}
