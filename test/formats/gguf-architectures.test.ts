/** What llama.cpp's code does with the head of an architecture, with a key and without. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { bytesOf } from '../support/bytes';
import { throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { F32, type GgufTensorSpec, gguf } from '../support/gguf';
import { D, embedding, hidden, output, V, weight } from '../support/gguf-head';
import { expectNear, products } from '../support/matrices';
import { expectClose, someNumbers } from '../support/numbers';

const folder = temporaryFolder();

it.each(['gemma2', 'gemma3n', 'gemma4', 'gemma3'])('%s is capped without a key as its code does', name => {
  const bytes = gguf([embedding], {
    'general.architecture': { string: name },
    [`${name}.embedding_length`]: { u32: D },
  });
  const head = LMHead.openSync(folder.file(`${name}.gguf`, bytes));
  const large = hidden.slice(0, D).map(x => 100 * x);
  const most = Math.max(...head.logitsSync(large).map(Math.abs));
  expect(most <= 30).toBe(name !== 'gemma3');
});

describe("what llama.cpp's code does without a key", () => {
  const norm = someNumbers(D, 5);
  const normTensor = (name: string) => ({ name, type: F32, shape: [D], bytes: bytesOf(norm) });
  const open = (architecture: string, key: string, tensors: GgufTensorSpec[]) =>
    LMHead.openSync(
      folder.file(
        `${architecture}.gguf`,
        gguf(tensors, {
          'general.architecture': { string: architecture },
          [`${architecture}.embedding_length`]: { u32: D },
          [`${architecture}.attention.${key}`]: { f32: 0.25 },
        }),
      ),
    );
  const h = hidden.slice(0, D);
  const rms = (weightOf: (k: number) => number, scale = 1) => {
    const square = h.reduce((sum, x) => sum + x * x, 0) / D;
    const normed = h.map((x, k) => (x / Math.sqrt(square + 0.25)) * weightOf(k));
    return products(normed, weight, D).map(dot => dot * scale);
  };

  it("LFM2's final norm has an embedding's name", () => {
    const head = open('lfm2', 'layer_norm_rms_epsilon', [embedding, normTensor('token_embd_norm.weight')]);
    expectNear(
      head.logitsSync(h, { norm: true }),
      rms(k => norm[k]),
    );
  });

  it("BLOOM's embedding norm is none", () => {
    const tensors = [embedding, normTensor('token_embd_norm.weight'), normTensor('output_norm.weight')];
    tensors[1].bytes = bytesOf(new Float32Array(D));
    const head = open('bloom', 'layer_norm_rms_epsilon', tensors);
    expectNear(
      head.logitsSync(h, { norm: true }),
      rms(k => norm[k]),
    );
  });

  it("T5's final norm is the decoder's, and its states are scaled where the head is tied", () => {
    const tensors = [embedding, normTensor('dec.output_norm.weight'), normTensor('enc.output_norm.weight')];
    tensors[2].bytes = bytesOf(new Float32Array(D));
    const tied = open('t5', 'layer_norm_rms_epsilon', tensors);
    expectNear(
      tied.logitsSync(h, { norm: true }),
      rms(k => norm[k], 1 / Math.sqrt(D)),
    );
    const untied = open('t5', 'layer_norm_rms_epsilon', [...tensors, output]);
    expectNear(
      untied.logitsSync(h, { norm: true }),
      rms(k => norm[k]),
    );
  });

  it("OLMo's final norm has no weight", () => {
    const head = open('olmo', 'layer_norm_epsilon', [embedding]);
    const mean = h.reduce((sum, x) => sum + x, 0) / D;
    const variance = h.reduce((sum, x) => sum + (x - mean) ** 2, 0) / D;
    const normed = h.map(x => (x - mean) / Math.sqrt(variance + 0.25));
    expectNear(head.logitsSync(h, { norm: true }), products(normed, weight, D));
  });

  it("AFMoE's embedding is scaled", () => {
    const head = open('afmoe', 'layer_norm_rms_epsilon', [embedding, output]);
    expectNear(
      head.embed([1]),
      weight.subarray(D, 2 * D).map(x => x * Math.sqrt(D)),
    );
  });

  it("the output's own factor is of the product, not of the bias", () => {
    const bias = someNumbers(V, 6);
    const one = (x: number) => ({
      name: 'output.scale',
      type: F32,
      shape: [1],
      bytes: bytesOf(Float32Array.of(x)),
    });
    const biasTensor = { name: 'output.bias', type: F32, shape: [V], bytes: bytesOf(bias) };
    const head = open('llama', 'layer_norm_rms_epsilon', [output, one(0.5), biasTensor]);
    expectNear(
      head.logitsSync(h),
      products(h, weight, D).map((dot, i) => 0.5 * dot + bias[i]),
    );
    const bad = () => open('llama', 'layer_norm_rms_epsilon', [output, one(0)]);
    throwsKind(bad, 'FORMAT', 'output.scale');
  });
});

describe('a file without a key for its hidden size', () => {
  it.each([
    ['gemma', 1, Math.sqrt(D)],
    ['minicpm', 256 / D, 12],
    ['command-r', 0.0625, 1],
  ])('%s is scaled by the width of its matrix', (architecture, logits, embeds) => {
    const path = folder.file(
      'widthless.gguf',
      gguf([embedding], { 'general.architecture': { string: architecture } }),
    );
    const head = LMHead.openSync(path);
    const plain = LMHead.openSync(folder.file('plain.gguf', gguf([embedding])));
    const near = { relative: 1e-6 };
    expectClose(
      head.logitsSync(hidden),
      plain.logitsSync(hidden).map(x => x * logits),
      near,
    );
    expectClose(
      head.embed([2]),
      plain.embed([2]).map(x => x * embeds),
      near,
    );
  });
});
