import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, it } from 'vitest';

/** A file or folder of the external test material; undefined where this checkout has none. */
export function conformancePath(name: string): string | undefined {
  const path = resolve(__dirname, '../../../shared/conformance', name);
  return existsSync(path) ? path : undefined;
}

/** Tests of external material; where there is none, a skipped test says so, and `tests` isn't called. */
export function describeConformance(name: string, title: string, tests: () => void): void {
  if (conformancePath(name)) describe(`${name}: ${title}`, tests);
  else
    describe.skip(`${name}: ${title}`, () =>
      it(`skipped: there is no ../shared/conformance/${name}`, () => {}));
}

/** A file's bytes, in memory of their own (so that any typed array may lie on them). */
export function conformanceBytes(name: string): ArrayBuffer {
  return new Uint8Array(readFileSync(conformancePath(name)!)).buffer;
}

export function conformanceJson<T>(name: string): T {
  return JSON.parse(readFileSync(conformancePath(name)!, 'utf8')) as T;
}
