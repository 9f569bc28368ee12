/** What is looked at when a decoder is opened. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { got } from '../arguments/describe';
import { LMHeadError } from '../errors';
import type { LMHead } from '../lm-head';
import { MaterializedLogits } from '../pass/materialized-logits';
import type { Body } from './body';

/** What chooses from a body's output. */
export async function drawingOf(body: Body, head: LMHead | undefined): Promise<LMHead | MaterializedLogits> {
  const { output, givesLogits } = body.facts;
  const size = output.shape.at(-1);
  if (givesLogits && !head) return new MaterializedLogits(await sizeOf(body, size));
  if (!head) {
    throw new LMHeadError(
      'ARGUMENT',
      `head: got none for a body, whose output ${output.name} is hidden states; want its LMHead`,
    );
  }
  if (givesLogits) {
    throw new LMHeadError(
      'ARGUMENT',
      'head: got one beside cut: false for a model whose output is logits; want no head, or the model cut',
    );
  }
  const given = await sizeOf(body, size);
  if (given !== head.hiddenSize) {
    throw new LMHeadError(
      'SHAPE',
      `head: got one for hidden states of ${head.hiddenSize} elements; want ${given}, as ${output.name} has`,
    );
  }
  return head;
}

/** The length of a row, which a model that does not tell has to be asked for. */
async function sizeOf(body: Body, told: number | string | undefined): Promise<number> {
  if (typeof told === 'number') return told;
  const { rows } = await body.read(Uint32Array.of(0), undefined, 1);
  return rows.dims[1];
}

export function pathOf(model: unknown): string {
  if (typeof model === 'string') return resolve(model);
  try {
    if (model instanceof URL) return fileURLToPath(model);
  } catch (cause) {
    throw new LMHeadError('ARGUMENT', `model: got ${got(model)}; want a file: URL`, { cause });
  }
  throw new LMHeadError('ARGUMENT', `model: got ${got(model)}; want the path of a .onnx file`);
}

export function requireObject(value: unknown, name: string): void {
  if ((typeof value === 'object' && value !== null) || (name === 'runtime' && typeof value === 'function'))
    return;
  throw new LMHeadError('ARGUMENT', `${name}: got ${got(value)}; want an object`);
}
