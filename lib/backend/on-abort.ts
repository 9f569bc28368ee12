/** Calls that an AbortSignal cancels. What it does is a caller's code: it may throw, fire at once, or fire twice. */
import { got } from '../arguments/describe';
import { reasonOf } from '../arguments/values';
import { LMHeadError } from '../errors';

/** One listener per signal, however many calls it is to cancel: Node warns of more than a few. */
interface Waiting {
  callbacks: Set<() => void>;
  fire: () => void;
}

const waitingFor = new WeakMap<AbortSignal, Waiting>();

/**
 * What `start` gives, or ABORTED as soon as the signal fires.
 * @param start not called where the signal fires at once
 * @param stop called when it fires after that, before the caller is told
 * @throws ARGUMENT where the signal takes no listener; then nothing is started
 */
export async function untilAbort<T>(
  signal: AbortSignal,
  start: () => Promise<T>,
  stop: (error: LMHeadError) => void,
): Promise<T> {
  let started = false;
  let early = false;
  let tell!: (error: LMHeadError) => void;
  const fired = new Promise<never>((_, reject) => {
    tell = reject;
  });
  fired.catch(() => undefined); // where `start` throws, nobody else listens
  const forget = onAbort(signal, () => {
    const error = new LMHeadError('ABORTED', 'the call was aborted', { cause: reasonOf(signal) });
    early = !started;
    tell(error);
    try {
      if (started) stop(error);
    } catch {
      // It goes on to its end, then; a signal's listener must not throw.
    }
  });
  try {
    if (early) return await fired;
    started = true;
    return await Promise.race([start(), fired]);
  } finally {
    forget();
  }
}

/** @returns what to call when the callback is no longer wanted; it never throws */
function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const waiting = waitingFor.get(signal) ?? newWaiting();
  waitingFor.set(signal, waiting);
  const { callbacks, fire } = waiting;
  const first = callbacks.size === 0;
  callbacks.add(callback);
  if (first) {
    try {
      const { addEventListener }: { addEventListener: unknown } = signal; // a proxy's may be another each time
      if (typeof addEventListener !== 'function') throw takesNoListener(signal);
      addEventListener.call(signal, 'abort', fire, { once: true });
    } catch (cause) {
      callbacks.delete(callback);
      throw cause instanceof LMHeadError ? cause : takesNoListener(signal, cause);
    }
  }
  return () => {
    if (!callbacks.delete(callback) || callbacks.size > 0) return;
    try {
      signal.removeEventListener('abort', fire);
    } catch {
      // The call is over, and a listener without callbacks does nothing.
    }
  };
}

function takesNoListener(signal: AbortSignal, cause?: unknown): LMHeadError {
  return new LMHeadError(
    'ARGUMENT',
    `signal: got ${got(signal)} that takes no listener; want an AbortSignal`,
    {
      cause,
    },
  );
}

function newWaiting(): Waiting {
  const callbacks = new Set<() => void>();
  const fire = () => {
    const all = [...callbacks];
    callbacks.clear();
    for (const callback of all) callback();
  };
  return { callbacks, fire };
}
