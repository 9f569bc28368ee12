/** What runs ONNX models, of bench/node_modules or else of the example's. */
import { createRequire } from 'node:module';

const FOLDERS = ['../', '../../examples/onnxruntime/'];

/** @returns the module; undefined where it is not installed */
export function packageOf(name) {
  for (const folder of FOLDERS) {
    const require = createRequire(new URL(`${folder}package.json`, import.meta.url));
    try {
      return require(name);
    } catch (error) {
      if (error.code !== 'MODULE_NOT_FOUND') throw error;
    }
  }
  return undefined;
}
