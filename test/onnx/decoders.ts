/** Small decoders with heads of every kind, as exporters write them. */
import type { Folder } from '../support/folders';
import { Graph } from '../support/onnx';
import { D, EMBEDDING, exact, type Made, V, WEIGHT } from './decoder-graph';
import { floatDecoders } from './float-decoders';
import { quantizedDecoders } from './quantized-decoders';

/** Half of a merged decoder: the branches have names of their own, and share the weight outside. */
export function mergedDecoder(separate = false): Made {
  const graph = new Graph();
  graph.input('input_ids', 'i64', ['batch', 'seq']);
  graph.input('past_key_values.0.key', 'f32', ['batch', 'past', D]);
  graph.input('use_cache_branch', 'bool', [1]);
  graph.tensor('embed', 'f32', [V, D], EMBEDDING);
  graph.tensor('half', 'f32', [], Float32Array.of(0.5));
  const branch = (name: string, past: boolean) => {
    const inner = new Graph();
    const embedded = inner.node('Gather', ['embed', 'input_ids']);
    if (past)
      inner.node('Concat', ['past_key_values.0.key', embedded], { outputs: [`${name}_present`], axis: 1 });
    else inner.node('Identity', [embedded], { outputs: [`${name}_present`] });
    const sum = inner.node('ReduceSum', [`${name}_present`, inner.ints(1)], { keepdims: 1 });
    const hidden = inner.node('Tanh', [inner.node('Add', [embedded, sum])]);
    const weight = separate && past ? inner.tensor('own', 'f32', [V, D], WEIGHT) : 'embed';
    const product = inner.node('MatMul', [hidden, inner.node('Transpose', [weight])]);
    inner.node('Mul', [product, 'half'], { outputs: [`${name}_logits`] });
    inner.output(`${name}_logits`, 'f32', ['batch', 'seq', V]);
    inner.output(`${name}_present`, 'f32', ['batch', 'total', D]);
    return inner;
  };
  graph.node('If', ['use_cache_branch'], {
    outputs: ['logits', 'present.0.key'],
    ...{ then_branch: branch('then', true), else_branch: branch('else', false) },
  });
  graph.output('logits', 'f32', ['batch', 'seq', V]);
  graph.output('present.0.key', 'f32', ['batch', 'total', D]);
  return {
    ...{ bytes: graph.model(), beside: {}, V, d: D, weight: exact(EMBEDDING), embedding: exact(EMBEDDING) },
    ...{
      tied: true,
      of: x => x / 2,
      dtype: 'f32',
      pattern: 'If of MatMul + scale',
      mapped: true,
      tolerance: 2e-6,
    },
  };
}

/** Of every kind, by name. */
export function everyDecoder(): Record<string, Made> {
  return { ...floatDecoders(), ...quantizedDecoders(), 'a merged decoder': mergedDecoder() };
}

/** Writes one into a folder of its own name there. @returns the path of its graph */
export function writeDecoder(folder: Folder, name: string, { bytes, beside }: Made): string {
  const own = name.replace(/\W+/g, '-');
  for (const [file, contents] of Object.entries(beside)) folder.file(`${own}/${file}`, contents);
  return folder.file(`${own}/model.onnx`, bytes);
}
