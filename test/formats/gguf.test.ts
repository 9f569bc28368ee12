/** Heads from GGUF files: what is used of them, in one file or in parts, and those without a usable head. */
import { readFileSync, rmSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { backends } from '../support/backends';
import { bytesOf } from '../support/bytes';
import { throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { BF16, F16, F32, type GgufTensorSpec, gguf } from '../support/gguf';
import { D, embedding, hidden, output, V, weight } from '../support/gguf-head';
import { narrow } from '../support/half';
import { expectNear, products } from '../support/matrices';
import { expectClose, someNumbers } from '../support/numbers';

const folder = temporaryFolder();

describe.each(backends)('a head from GGUF, %s', backend => {
  it.each([
    ['F32', F32, 'f32'],
    ['F16', F16, 'f16'],
    ['BF16', BF16, 'bf16'],
  ] as const)('of %s', (_, type, dtype) => {
    const bytes = bytesOf(narrow(weight, dtype));
    const head = LMHead.openSync(folder.file('a.gguf', gguf([{ ...embedding, type, bytes }])), { backend });
    expect([head.dtype, head.tied, head.vocabSize, head.hiddenSize]).toEqual([dtype, true, V, D]);
    const held = head.embed(Array.from({ length: V }, (_, i) => i));
    expectClose(held, weight, { absolute: dtype === 'f32' ? 0 : 4e-3 });
    expectNear(head.logitsSync(hidden), products(hidden, held, D));
  });

  it('untied, with its norm, scales and bias by the keys', () => {
    const other = someNumbers(V * D, 8);
    const bias = someNumbers(V, 9);
    const norm = someNumbers(D, 10);
    const path = folder.file(
      'b.gguf',
      gguf(
        [
          { ...embedding, bytes: bytesOf(other) },
          { name: 'output_norm.weight', type: F32, shape: [D], bytes: bytesOf(norm) },
          output,
          { name: 'output.bias', type: F32, shape: [V], bytes: bytesOf(bias) },
        ],
        {
          'general.architecture': { string: 'grok' },
          'grok.embedding_length': { u32: D },
          'grok.attention.layer_norm_rms_epsilon': { f32: 0.25 },
          'grok.logit_scale': { f32: 0.5 },
          'grok.final_logit_softcapping': { f32: 4 },
          'tokenizer.ggml.tokens': { strings: [...'abcdefghi', '[PAD9]', '[PAD10]'] },
        },
      ),
    );
    const head = LMHead.openSync(path, { backend });
    expect([head.tied, head.parameterCount]).toEqual([false, 2 * V * D + V + D]);
    expectNear(
      head.embed([3]),
      other.subarray(3 * D, 4 * D).map(x => x * 78.38367176906169),
    );
    const normed = hidden.map((x, i) => {
      const row = hidden.subarray(i < D ? 0 : D, i < D ? D : 2 * D);
      return (x / Math.sqrt(row.reduce((sum, y) => sum + y * y, 0) / D + 0.25)) * norm[i % D];
    });
    const expected = products(normed, weight, D).map((dot, i) =>
      i % V < 9 ? 4 * Math.tanh(((dot + bias[i % V]) * 0.5) / 4) : -Infinity,
    );
    expectClose(head.logitsSync(hidden, { norm: true }), expected, { absolute: 3e-6 });
  });

  it.each([
    ['granite', 1 / 8, 3],
    ['command-r', 8, 3],
    ['minicpm', 1 / 8, 3],
  ])("%s's logit scale", (architecture, scale, embeddingScale) => {
    const path = folder.file(
      'c.gguf',
      gguf([embedding], {
        'general.architecture': { string: architecture },
        [`${architecture}.logit_scale`]: { f32: 8 },
        [`${architecture}.embedding_scale`]: { f32: 3 },
      }),
    );
    const head = LMHead.openSync(path, { backend });
    expectNear(
      head.logitsSync(hidden),
      products(hidden, weight, D).map(dot => dot * scale),
    );
    expectNear(
      head.embed([1]),
      weight.subarray(D, 2 * D).map(x => x * embeddingScale),
    );
  });

  it("gemma's embedding scale, and a norm weight that has its 1 already", () => {
    const path = folder.file(
      'd.gguf',
      gguf(
        [
          embedding,
          { name: 'output_norm.weight', type: F32, shape: [D], bytes: bytesOf(new Float32Array(D)) },
        ],
        {
          'general.architecture': { string: 'gemma3' },
          'gemma3.embedding_length': { u32: D },
          'gemma3.attention.layer_norm_rms_epsilon': { f32: 1e-6 },
        },
      ),
    );
    const head = LMHead.openSync(path, { backend });
    expectNear(
      head.embed([1]),
      weight.subarray(D, 2 * D).map(x => x * Math.sqrt(D)),
    );
    expect(new Set(head.logitsSync(hidden, { norm: true }))).toEqual(new Set([0]));
  });
});

it.each([
  ['general.type', 'adapter', 'an adapter (LoRA)'],
  ['general.type', 'imatrix', 'an importance matrix'],
  ['general.type', 'mmproj', 'a projector (mmproj)'],
  ['general.architecture', 'clip', 'a projector (mmproj)'],
])('%s %s has no head, and says what it is', (key, value, what) => {
  const parts = ['output.weight.lora_a', 'mm.0.weight'].map(name => ({ ...embedding, name }));
  const path = folder.file('part.gguf', gguf(parts, { [key]: { string: value } }));
  throwsKind(() => LMHead.openSync(path), 'TENSOR', `it is ${what}`, 'want the file of the model');
});

describe('only what is used has to be readable', () => {
  const open = (tensors: GgufTensorSpec[]) => LMHead.openSync(folder.file('other.gguf', gguf(tensors)));
  const odd = { name: 'blk.0.ffn_down.weight', type: 139, shape: [V, D], bytes: new Uint8Array(V * 18 + 3) };

  it.each([
    ['before it', [odd, output]],
    ['behind it', [output, odd]],
    ['on both sides', [{ ...odd, name: 'a' }, output, { ...odd, name: 'b', type: 31 }]],
    ['with a long name', [{ ...embedding, name: 'x'.repeat(70) }, output]],
  ])('so a tensor %s may be anything', (_, tensors) => {
    expectNear(open(tensors).logitsSync(hidden), products(hidden, weight, D));
  });

  it('so an untied head opens whose embedding is not, which embed alone refuses', () => {
    for (const [type, dtype] of [
      [16, 'IQ2_XXS'],
      [139, 'type 139'],
    ] as const) {
      const embedded = { ...embedding, type, shape: [V, 256], bytes: new Uint8Array(V * 66) };
      const out = { ...output, shape: [V, 256], bytes: bytesOf(someNumbers(V * 256, 7)) };
      const head = open([embedded, out]);
      expect([head.tied, head.vocabSize]).toEqual([false, V]);
      throwsKind(() => head.embed([0]), 'TENSOR', 'token_embd.weight', dtype, 'not read');
      throwsKind(() => open([embedded, { ...out, name: 'other' }]), 'DTYPE', 'token_embd.weight', dtype);
    }
  });
});

describe('a GGUF file in parts', () => {
  const part = (no: number, count: number, tensors: GgufTensorSpec[], keys = {}) =>
    folder.file(
      `parts/model-0000${no}-of-00003.gguf`,
      gguf(tensors, { 'split.count': { u16: count }, 'split.no': { u16: no - 1 }, ...keys }),
    );
  const keys = { 'general.architecture': { string: 'command-r' }, 'command-r.logit_scale': { f32: 2 } };
  const paths = () => [
    part(1, 3, [{ name: 'blk.0.weight', type: F32, shape: [1], bytes: new Uint8Array(4) }], keys),
    part(2, 3, [{ ...embedding, bytes: bytesOf(someNumbers(V * D, 8)) }]),
    part(3, 3, [output]),
  ];

  it('opens by each of them', () => {
    for (const path of paths()) {
      const head = LMHead.openSync(path);
      expect(head.tied).toBe(false);
      expectNear(
        head.logitsSync(hidden),
        products(hidden, weight, D).map(dot => 2 * dot),
      );
      expect(head.embed([1])).toEqual(someNumbers(V * D, 8).subarray(D, 2 * D));
    }
  });

  it('is refused where parts are missing, named otherwise, or of another file', () => {
    const [first, second, third] = paths();
    throwsKind(
      () => LMHead.openSync(folder.file('model.gguf', readFileSync(first))),
      'FORMAT',
      'one of 3 parts',
    );
    part(2, 3, [output]);
    throwsKind(() => LMHead.openSync(first), 'FORMAT', '00003-of-00003', 'output.weight', 'one file');
    rmSync(second);
    throwsKind(() => LMHead.openSync(third), 'IO', '00002-of-00003', 'no such file');
  });
});

describe('a GGUF file without a usable head', () => {
  const open = (bytes: Uint8Array, options = {}) => LMHead.openSync(folder.file('x.gguf', bytes), options);

  it('of a type that is not read says which', () => {
    for (const [type, name, blockBytes] of [
      [16, 'IQ2_XXS', 66],
      [21, 'IQ3_S', 110],
      [34, 'TQ1_0', 54],
      [40, 'NVFP4', 144],
    ] as const) {
      const bytes = new Uint8Array(V * blockBytes);
      const tensor = { name: 'output.weight', type, shape: [V, 256], bytes };
      throwsKind(() => open(gguf([tensor])), 'DTYPE', 'output.weight', name, 'x.gguf', 'llama-quantize');
    }
  });

  it('of a header alone', () => {
    const whole = gguf([output]);
    throwsKind(
      () => open(whole.subarray(0, whole.length - V * D * 4)),
      'FORMAT',
      'output.weight',
      'whole file',
    );
  });

  it('whose keys are of another model, or of a wrong type', () => {
    const keys = { 'general.architecture': { string: 'llama' }, 'llama.embedding_length': { u32: D + 1 } };
    throwsKind(() => open(gguf([output], keys)), 'SHAPE', 'hidden size', `${D + 1}`);
    const wrong = { ...keys, 'llama.embedding_length': { string: 'x' } };
    throwsKind(() => open(gguf([output], wrong)), 'FORMAT', 'llama.embedding_length');
    const tokens = { 'tokenizer.ggml.tokens': { strings: Array(V + 1).fill('t') } };
    throwsKind(() => open(gguf([output], tokens)), 'SHAPE', 'vocabulary size', 'validVocabSize');
    expect(open(gguf([output], tokens), { validVocabSize: 3 }).vocabSize).toBe(V);
  });
});
