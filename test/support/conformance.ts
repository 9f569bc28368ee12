import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';

/** A file or folder of the external test material; undefined where this checkout has none. */
export function conformancePath(name: string): string | undefined {
  const path = resolve(__dirname, '../../../shared/conformance', name);
  return existsSync(path) ? path : undefined;
}

/** Whether there is such material; tests of it skip where there is none, and their names say which it is. */
export function hasConformance(name: string): boolean {
  return conformancePath(name) !== undefined;
}

/** A file's bytes, in memory of their own (so that any typed array may lie on them). */
export function conformanceBytes(name: string): ArrayBuffer {
  return new Uint8Array(readFileSync(conformancePath(name)!)).buffer;
}

export function conformanceJson<T>(name: string): T {
  return JSON.parse(readFileSync(conformancePath(name)!, 'utf8')) as T;
}
