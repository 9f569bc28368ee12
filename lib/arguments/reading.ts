/** Arguments that run code when they are read: getters, proxies, lists of a caller's own make. */
import { LMHeadError } from '../errors';

/**
 * Reads an argument.
 * @param name for the message
 * @throws what `read` throws, if it is an LMHeadError; else ARGUMENT, with what the argument's own code threw as its cause
 */
export function reading<T>(name: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof LMHeadError) throw cause;
    throw new LMHeadError('ARGUMENT', `${name}: got what throws when it is read; want what can be read`, {
      cause,
    });
  }
}

/** Array.isArray, but false for a proxy that has been revoked. */
export function isArray(value: unknown): value is unknown[] {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}
