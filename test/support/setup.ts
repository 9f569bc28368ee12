/** Before every file of tests, once in each process. Comparing element by element, with a look at each one's prototype, took a quarter of the suite's time. */
import { chai, expect } from 'vitest';

/** Equal bytes are equal values; where they differ, vitest's own comparison says where. */
function sameBytes(a: unknown, b: unknown): true | undefined {
  if (!ArrayBuffer.isView(a) || !ArrayBuffer.isView(b) || a.constructor !== b.constructor) return undefined;
  const bytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView) =>
    Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
  return bytes(a).equals(bytes(b)) || undefined;
}

const DONE = Symbol.for('lmhead.test.setup');
if (!Reflect.has(globalThis, DONE)) expect.addEqualityTesters([sameBytes]);
Reflect.set(globalThis, DONE, true);
// A proxy about each assertion, for names of assertions that do not exist; the compiler knows those.
chai.config.useProxy = false;
