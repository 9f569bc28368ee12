/** Checks of single values: numbers, booleans, names, option objects. */
import { LMHeadError } from '../errors';
import { got, label } from './describe';
import { isArray } from './reading';

/** An integer from `low` to `high`, both included. `index` ≥ 0 where the value is in a list. */
export function integerBetween(value: unknown, name: string, low: number, high: number, index = -1): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= low && value <= high) return value + 0;
  const kind = typeof value === 'number' ? 'RANGE' : 'ARGUMENT';
  throw new LMHeadError(
    kind,
    `${label(name, index)}: got ${got(value)}; want an integer from ${low} to ${high}`,
  );
}

/** A number within [low, high]. */
export function numberBetween(value: unknown, name: string, low: number, high: number, index = -1): number {
  if (typeof value === 'number' && value >= low && value <= high) return value + 0;
  const kind = typeof value === 'number' ? 'RANGE' : 'ARGUMENT';
  throw new LMHeadError(
    kind,
    `${label(name, index)}: got ${got(value)}; want a number from ${low} to ${high}`,
  );
}

/** A finite number; `fallback` where it is undefined. */
export function finiteNumber(value: unknown, name: string, fallback?: number): number {
  if (value === undefined && fallback !== undefined) return fallback;
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  const kind = typeof value === 'number' ? 'RANGE' : 'ARGUMENT';
  throw new LMHeadError(kind, `${name}: got ${got(value)}; want a finite number`);
}

/** true or false; false where it is undefined. */
export function flag(value: unknown, name: string, fallback = false): boolean {
  if (value === undefined) return fallback;
  if (typeof value === 'boolean') return value;
  throw new LMHeadError('ARGUMENT', `${name}: got ${got(value)}; want true or false`);
}

/** One of a few strings; the first of them where it is undefined. */
export function oneOf<T extends string>(value: unknown, name: string, choices: readonly T[]): T {
  if (value === undefined) return choices[0];
  if (choices.includes(value as T)) return value as T;
  const wanted = choices.map(choice => `'${choice}'`).join(' or ');
  throw new LMHeadError(
    typeof value === 'string' ? 'RANGE' : 'ARGUMENT',
    `${name}: got ${got(value)}; want ${wanted}`,
  );
}

/** An object of options. Arrays are none: whoever passes one meant another argument. */
export function optionsObject(value: unknown, name: string): void {
  if (typeof value === 'object' && value !== null && !isArray(value) && !ArrayBuffer.isView(value)) return;
  throw new LMHeadError('ARGUMENT', `${name}: got ${got(value)}; want an object`);
}

/** An AbortSignal, or what does as one does, that has not fired. */
export function liveSignal(value: unknown): AbortSignal | undefined {
  if (value === undefined) return undefined;
  const signal = value as AbortSignal;
  if (hasFired(value)) {
    throw new LMHeadError('ABORTED', 'the call was canceled before it began', { cause: reasonOf(signal) });
  }
  return signal;
}

/** Looks at all that a call will use. */
function hasFired(value: unknown): boolean {
  let failure: unknown;
  try {
    const { aborted, addEventListener, removeEventListener } = Object(value) as Partial<AbortSignal>;
    if (
      typeof value === 'object' &&
      typeof aborted === 'boolean' &&
      typeof addEventListener === 'function' &&
      typeof removeEventListener === 'function'
    )
      return aborted;
  } catch (cause) {
    failure = cause; // of a getter
  }
  throw new LMHeadError('ARGUMENT', `signal: got ${got(value)}; want an AbortSignal`, { cause: failure });
}

/** Why a signal has fired, if it tells. */
export function reasonOf(signal: AbortSignal): unknown {
  try {
    return signal.reason;
  } catch (cause) {
    return cause;
  }
}
