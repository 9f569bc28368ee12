/** onnxruntime, where it is installed; it is large, and no dependency of the project's. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

export interface Tensor {
  data: Float32Array | Uint16Array | BigInt64Array;
  type: string;
  dims: number[];
}
export interface Session {
  readonly inputNames: string[];
  readonly outputNames: string[];
  run(feeds: Record<string, unknown>): Promise<Record<string, Tensor>>;
  release(): Promise<void>;
}
interface OnnxRuntime {
  InferenceSession: { create(path: string, options?: object): Promise<Session> };
  Tensor: new (type: string, data: unknown, dims: readonly number[]) => Tensor;
}

const folder = join(__dirname, '../../examples/onnxruntime');

/** undefined: `npm install --ignore-scripts --no-package-lock --prefix examples/onnxruntime` has not been run. */
export const onnxruntime: OnnxRuntime | undefined = existsSync(join(folder, 'node_modules/onnxruntime-node'))
  ? (createRequire(join(folder, 'package.json'))('onnxruntime-node') as OnnxRuntime)
  : undefined;
