/** Translators of a tuned lens, from a file. */
import { got } from '../arguments/describe';
import { LMHeadError } from '../errors';
import { follow, type Plan } from '../formats/read-plan';
import { quoted, shapeText, type TensorEntry } from '../formats/tensor-table';
import { readWeights, type Weights } from '../formats/weights';
import { filePath } from '../head/open';
import { vector } from '../head/read-tensor';
import type { Translator } from '../types';

/** How `loadTranslators` reads them. */
export interface LoadTranslatorsOptions {
  /** true (default): h' = h + A·h + b, as the package tuned-lens trains them. false: h' = A·h + b. */
  residual?: boolean | undefined;
}

/** A layer's number, and which of its two tensors: '0.weight', 'layer_translators.11.bias'. */
const NAME = /(?:^|\.)(\d{1,4})\.(weight|bias)$/;

/**
 * Reads the affine maps of a tuned lens, for the option `translators` of `lens`: tensors '0.weight' [d,d], '0.bias' [d], '1.weight'… (whatever
 * stands before that in their names), as the package tuned-lens saves them in params.pt; or stacked ones, 'weight'
 * [layers,d,d] and 'bias' [layers,d]. Belrose et al., "Eliciting latent predictions from transformers with the tuned lens" (2023).
 * @param path of a .safetensors, .npz or PyTorch file, or a file: URL
 * @param options `residual`: how the maps were trained
 * @returns one per layer, undefined for a layer that has none. Rejects with IO, FORMAT, DTYPE; TENSOR where there are none; SHAPE
 */
export async function loadTranslators(
  path: string | URL,
  options: LoadTranslatorsOptions = {},
): Promise<(Translator | undefined)[]> {
  const { residual = true } = options;
  if (typeof residual !== 'boolean')
    throw new LMHeadError('ARGUMENT', `residual: got ${got(residual)}; want true or false`);
  return follow(plan(filePath(path), residual));
}

function* plan(file: string, residual: boolean): Plan<(Translator | undefined)[]> {
  const weights = yield* readWeights(file, undefined, false);
  const stacked = weights.tensors.get('weight');
  if (stacked) return yield* unstacked(weights, stacked, weights.tensors.get('bias'), residual);
  const layers: { weight?: string; bias?: string }[] = [];
  for (const name of weights.tensors.keys()) {
    const [, layer, which] = NAME.exec(name) ?? [];
    if (layer === undefined) continue;
    const own = layers[Number(layer)] ?? {};
    layers[Number(layer)] = own;
    const kind = which as 'weight' | 'bias';
    if (own[kind] !== undefined)
      throw new LMHeadError(
        'TENSOR',
        `translators: ${weights.name} has ${quoted(own[kind])} and ${quoted(name)}; want one ${kind} per layer`,
      );
    own[kind] = name;
  }
  if (layers.length === 0) throw none(weights);
  const translators: (Translator | undefined)[] = [];
  let size: number | undefined;
  for (let layer = 0; layer < layers.length; layer++) {
    const { weight, bias } = layers[layer] ?? {};
    if (weight === undefined && bias === undefined) {
      translators.push(undefined);
      continue;
    }
    if (weight === undefined) throw none(weights, ` of layer ${layer}`);
    const entry = weights.tensors.get(weight)!;
    size ??= entry.shape[0];
    requireShape(weights, weight, entry, [size, size]);
    const biasEntry = bias === undefined ? undefined : weights.tensors.get(bias)!;
    if (biasEntry) requireShape(weights, bias!, biasEntry, [size]);
    translators.push({
      weight: yield* vector(weights, { name: weight, entry }, 'translators'),
      bias: biasEntry && (yield* vector(weights, { name: bias!, entry: biasEntry }, 'translators')),
      residual,
    });
  }
  return translators;
}

function* unstacked(
  weights: Weights,
  entry: TensorEntry,
  biasEntry: TensorEntry | undefined,
  residual: boolean,
): Plan<Translator[]> {
  const [layers, d] = entry.shape;
  requireShape(weights, 'weight', entry, [layers ?? 0, d ?? 0, d ?? 0]);
  if (biasEntry) requireShape(weights, 'bias', biasEntry, [layers, d]);
  const all = yield* vector(weights, { name: 'weight', entry }, 'translators');
  const biases = biasEntry && (yield* vector(weights, { name: 'bias', entry: biasEntry }, 'translators'));
  return Array.from({ length: layers }, (_, layer) => ({
    weight: all.subarray(layer * d * d, (layer + 1) * d * d),
    bias: biases?.subarray(layer * d, (layer + 1) * d),
    residual,
  }));
}

function requireShape({ name: file }: Weights, name: string, entry: TensorEntry, shape: number[]): void {
  if (entry.columnMajor)
    throw new LMHeadError(
      'FORMAT',
      `translators: ${quoted(name)} in ${file} lies column by column; want rows`,
    );
  if (entry.shape.length !== shape.length || entry.shape.some((size, i) => size !== shape[i]))
    throw new LMHeadError(
      'SHAPE',
      `translators: ${quoted(name)} in ${file} is ${shapeText(entry.shape)}; want ${shapeText(shape)}`,
    );
}

function none({ name }: Weights, where = ''): LMHeadError {
  return new LMHeadError(
    'TENSOR',
    `translators: ${name} has no weight${where}; want tensors "0.weight", "0.bias" and so on, or "weight" and "bias" of all layers`,
  );
}
