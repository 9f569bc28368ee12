import { existsSync } from 'node:fs';
import { resolve } from 'node:path';

/** A file or folder of the external test material; undefined where this checkout has none. */
export function conformancePath(name: string): string | undefined {
  const path = resolve(__dirname, '../../../shared/conformance', name);
  return existsSync(path) ? path : undefined;
}
