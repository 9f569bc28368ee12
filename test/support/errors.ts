import { expect } from 'vitest';
import { type ErrorKind, LMHeadError } from '../../lib/errors';

/** `call` throws an LMHeadError of that kind, whose message has all of `words`. */
export function throwsKind(call: () => unknown, kind: ErrorKind, ...words: string[]): LMHeadError {
  let thrown: unknown;
  try {
    call();
  } catch (error) {
    thrown = error;
  }
  return isKind(thrown, kind, words);
}

/** `call` returns a promise (and does not throw itself) that rejects with such an error. */
export async function rejectsKind(
  call: () => Promise<unknown>,
  kind: ErrorKind,
  ...words: string[]
): Promise<LMHeadError> {
  const promise = call();
  expect(promise).toBeInstanceOf(Promise);
  const thrown = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  return isKind(thrown, kind, words);
}

function isKind(thrown: unknown, kind: ErrorKind, words: string[]): LMHeadError {
  if (!(thrown instanceof LMHeadError))
    throw thrown ?? new Error(`nothing was thrown; ERR_LMHEAD_${kind} was due`);
  expect(thrown.code, thrown.message).toBe(`ERR_LMHEAD_${kind}`);
  for (const word of words) expect(thrown.message).toContain(word);
  return thrown;
}
