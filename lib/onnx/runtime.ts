/** onnxruntime, as far as this library uses it. It is the user's: npm's onnxruntime-node, loaded when a decoder is first opened. */
import { LMHeadError } from '../errors';

const PACKAGE = 'onnxruntime-node';

export interface Tensor {
  readonly data: ArrayBufferView & { readonly length: number };
  readonly type: string;
  readonly dims: readonly number[];
}

/** An input or output of a model. A size that is known only when the model runs is a name. */
export interface ValueMetadata {
  readonly name: string;
  readonly isTensor: boolean;
  readonly type?: string;
  readonly shape?: readonly (number | string)[];
}

export interface Session {
  readonly inputMetadata: readonly ValueMetadata[];
  readonly outputMetadata: readonly ValueMetadata[];
  run(
    feeds: Record<string, Tensor>,
    fetches: readonly string[],
    options: object,
  ): Promise<Record<string, Tensor>>;
  release(): Promise<void>;
}

export interface Runtime {
  readonly InferenceSession: { create(path: string, options: object): Promise<Session> };
  readonly Tensor: new (type: string, data: ArrayBufferView, dims: readonly number[]) => Tensor;
}

/**
 * @param given the module, of a caller who has it from elsewhere
 * @throws LMHeadError LOAD where it is not installed; ARGUMENT for what is no such module
 */
export async function loadRuntime(given?: object): Promise<Runtime> {
  const module = given ?? (await installed());
  const runtime = module as Partial<Runtime> & { default?: Partial<Runtime> };
  for (const each of [runtime, runtime.default]) {
    if (typeof each?.Tensor === 'function' && typeof each.InferenceSession?.create === 'function')
      return each as Runtime;
  }
  throw new LMHeadError(
    'ARGUMENT',
    `runtime: got a module without InferenceSession and Tensor; want ${PACKAGE}, or one that does as it does`,
  );
}

async function installed(): Promise<object> {
  // Through a name that compilers and bundlers don't follow: nobody has to have it who doesn't use it.
  const name: string = PACKAGE;
  try {
    return (await import(name)) as object;
  } catch (cause) {
    const missing = /^(ERR_)?MODULE_NOT_FOUND$/.test((cause as NodeJS.ErrnoException).code ?? '');
    const problem = missing ? 'is not installed' : `cannot be loaded (${firstLine(cause)})`;
    throw new LMHeadError(
      'LOAD',
      `runtime: ${PACKAGE}, which runs ONNX models, ${problem}; want npm install ${PACKAGE}, or its module as the option runtime`,
      { cause },
    );
  }
}

/** What onnxruntime says of a failure, on one line. */
export function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split('\n')[0].slice(0, 300);
}
