/** How results are written as JSON. */

/** Of a result's arrays, arrays of numbers. JSON itself writes null for NaN and infinities. */
function toJSON(this: object): object {
  return Object.fromEntries(
    Object.entries(this).map(([name, value]) => [
      name,
      ArrayBuffer.isView(value) ? Array.from(value as Float32Array | Uint32Array) : value,
    ]),
  );
}

/**
 * Lets JSON.stringify write typed arrays as arrays, which it otherwise writes as {"0":…}. The method is not enumerable: the result
 * stays a plain object to structuredClone and postMessage, which refuse functions that they see, to spreads and to comparisons.
 */
export function asJson<T extends object>(result: T): T {
  return Object.defineProperty(result, 'toJSON', { value: toJSON, writable: true, configurable: true });
}
