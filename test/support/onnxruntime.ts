/** onnxruntime-node, where examples/onnxruntime has it: it is no dependency of the project's own install. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { describe, it } from 'vitest';

const FOLDER = resolve(__dirname, '../../examples/onnxruntime');
const INSTALL = 'npm install --ignore-scripts --no-package-lock --prefix examples/onnxruntime';

/** A package of the example's; undefined where it is not installed. */
export function examplePackage<T extends object>(name: string): T | undefined {
  if (!existsSync(resolve(FOLDER, 'node_modules', name))) return undefined;
  return createRequire(resolve(FOLDER, 'package.json'))(name) as T;
}

export interface RuntimeTensor {
  data: Float32Array;
  dims: readonly number[];
  type: string;
}

export interface RuntimeSession {
  inputMetadata: readonly { name: string; type: string; shape: readonly (number | string)[] }[];
  outputMetadata: RuntimeSession['inputMetadata'];
  run(feeds: Record<string, unknown>): Promise<Record<string, RuntimeTensor>>;
  release(): Promise<void>;
}

export interface OnnxRuntime {
  InferenceSession: { create(path: string | Uint8Array, options?: object): Promise<RuntimeSession> };
  Tensor: new (type: string, data: unknown, dims: readonly number[]) => RuntimeTensor;
}

/** Tests over onnxruntime; where it is not installed, a skipped test says so, and `tests` isn't called. */
export function describeOnnxruntime(title: string, tests: (runtime: OnnxRuntime) => void): void {
  const runtime = examplePackage<OnnxRuntime>('onnxruntime-node');
  if (runtime) describe(title, () => tests(runtime));
  else describe.skip(title, () => it(`skipped: onnxruntime-node is not installed (${INSTALL})`, () => {}));
}
