import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';

export interface Folder {
  /** The path of a name in it. */
  path(name?: string): string;
  /** Writes a file (and the folders that it lies in), and returns its path. */
  file(name: string, bytes: string | Uint8Array): string;
}

/** A folder that is there while the tests of a file run. */
export function temporaryFolder(): Folder {
  let root: string;
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'lmhead-test-'));
  });
  afterAll(() => rmSync(root, { recursive: true }));
  const path = (name = '') => join(root, name);
  return {
    path,
    file(name, bytes) {
      mkdirSync(dirname(path(name)), { recursive: true });
      writeFileSync(path(name), bytes);
      return path(name);
    },
  };
}
