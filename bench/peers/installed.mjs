/** The packages of bench/node_modules. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** Loads one. Throws where it is not installed. */
export const require = createRequire(import.meta.url);

/**
 * Its version: from the file, as some packages do not export their package.json.
 * @param {string} name
 */
export function versionOf(name) {
  const file = new URL(`../node_modules/${name}/package.json`, import.meta.url);
  return JSON.parse(readFileSync(file, 'utf8')).version;
}
