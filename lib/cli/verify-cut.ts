/** Whether a body and its head are the model that they were cut from: both run in onnxruntime. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { floats } from '../dtypes/half';
import { LMHeadError } from '../errors';
import { LMHead } from '../lm-head';
import { Body, type Rows } from '../onnx/body';
import type { CutReport } from '../onnx/cut-head';
import { loadRuntime } from '../onnx/runtime';
import { normalNumbers } from './random';

export interface CutVerification {
  /** Is the difference what rounding explains? Always true where the model rounds its hidden states. */
  ok: boolean;
  positions: number;
  /** The largest difference of a logit, over the largest logit. */
  relative: number;
  /** What `relative` may be; undefined where the model rounds its hidden states. */
  bound?: number;
  /** In how many positions the best token is the same. */
  sameBest: number;
}

/** Of sums in another order in f32; and of states, logits or scales in 16 bits. */
const BOUNDS = { exact: 1e-5, rounded: 1e-2 };

/**
 * Reads all tokens but one, and then that one with the caches.
 * @param ids two at least
 * @throws LMHeadError LOAD without onnxruntime-node, and as OnnxDecoder.open does
 */
export async function verifyCut(
  model: string,
  report: CutReport,
  ids: Uint32Array,
): Promise<CutVerification> {
  const runtime = await loadRuntime(besideUser());
  const head = await LMHead.open(model);
  const opened: Body[] = [];
  try {
    for (const path of [model, report.bodyPath]) {
      const output = path === model ? report.logits : report.hidden.name;
      const body = await Body.open(runtime, path, {}, path !== model, output);
      body.embed = tokens => embedded(head, tokens);
      opened.push(body);
    }
    const found = { positions: 0, difference: 0, largest: 0, sameBest: 0 };
    const parts = [ids.subarray(0, -1), ids.subarray(-1)];
    const memories: Awaited<ReturnType<Body['read']>>['memory'][] = [];
    for (const part of parts) {
      const [whole, body] = await Promise.all(
        opened.map((each, i) => each.read(part, memories[i], part.length)),
      );
      [memories[0], memories[1]] = [whole.memory, body.memory];
      compare(numbersOf(whole.rows), await head.logits(body.rows), head.vocabSize, found);
    }
    const { positions, difference, largest, sameBest } = found;
    const relative = largest > 0 ? difference / largest : difference;
    const isExact = report.hidden.dtype === 'F32' && report.maxWeightError === 0;
    const bound = report.quantizedActivations ? undefined : isExact ? BOUNDS.exact : BOUNDS.rounded;
    return { ok: bound === undefined || relative <= bound, positions, relative, bound, sameBest };
  } finally {
    head.close();
    for (const body of opened) await body.release();
  }
}

/** Of a decoder whose input embedding is elsewhere any values do. */
function embedded(head: LMHead, ids: Uint32Array): Float32Array {
  try {
    return head.embed(ids);
  } catch (error) {
    if ((error as LMHeadError).code !== 'ERR_LMHEAD_TENSOR') throw error;
    const next = normalNumbers(1 + ids[0]);
    return Float32Array.from({ length: ids.length * head.hiddenSize }, next);
  }
}

/** onnxruntime-node of the folder that the user is in: the command may be installed elsewhere. */
function besideUser(): object | undefined {
  try {
    return createRequire(join(process.cwd(), 'package.json'))('onnxruntime-node') as object;
  } catch {
    return undefined;
  }
}

function numbersOf({ data, type }: Rows): Float32Array {
  if (type === 'float32') return data as unknown as Float32Array;
  if (type !== 'float16')
    throw new LMHeadError('DTYPE', `model: got logits in ${type}; want float32 or float16`);
  return floats(new Uint16Array(data.buffer, data.byteOffset, data.length), 'f16');
}

function compare(
  wanted: Float32Array,
  got: Float32Array,
  V: number,
  found: { positions: number; difference: number; largest: number; sameBest: number },
): void {
  if (wanted.length !== got.length) {
    throw new LMHeadError(
      'SHAPE',
      `model: got ${wanted.length} logits where the body gives states for ${got.length}`,
    );
  }
  for (let at = 0; at < wanted.length; at += V) {
    let best = 0;
    let other = 0;
    for (let i = 0; i < V; i++) {
      const [a, b] = [wanted[at + i], got[at + i]];
      // Tokens that are masked out have no place in a difference.
      if (Math.abs(a) < 1e4) {
        found.largest = Math.max(found.largest, Math.abs(a));
        found.difference = Math.max(found.difference, Math.abs(a - b));
      }
      if (a > wanted[at + best]) best = i;
      if (b > got[at + other]) other = i;
    }
    found.positions++;
    if (best === other) found.sameBest++;
  }
}
