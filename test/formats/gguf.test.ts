import { readFileSync, rmSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { LMHead, type LMHeadError } from '../../lib';
import { type GgufHeader, readGguf } from '../../lib/formats/gguf';
import { backends } from '../support/backends';
import { bytesOf } from '../support/bytes';
import { conformancePath, describeConformance } from '../support/conformance';
import { throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { BF16, F16, F32, type GgufTensorSpec, gguf } from '../support/gguf';
import { narrow } from '../support/half';
import { expectNear, products } from '../support/matrices';
import { fromBytes } from '../support/memory-files';
import { expectClose, someNumbers } from '../support/numbers';

const V = 11;
const D = 32;
const weight = someNumbers(V * D, 2);
const hidden = someNumbers(2 * D, 3);
const folder = temporaryFolder();

const read = (bytes: Uint8Array): GgufHeader => fromBytes(bytes, size => readGguf('test.gguf', size));
const output: GgufTensorSpec = { name: 'output.weight', type: F32, shape: [V, D], bytes: bytesOf(weight) };
const embedding: GgufTensorSpec = { ...output, name: 'token_embd.weight' };

describe('a well-formed header', () => {
  it.each([2, 3])('of version %i gives tensors row by row, and their places', version => {
    const bytes = gguf(
      [{ name: 'v', type: F16, shape: [3], bytes: new Uint8Array(6) }, output],
      { 'general.architecture': { string: 'llama' } },
      { version },
    );
    const { tensors, metadata } = read(bytes);
    const start = bytes.length - V * D * 4;
    expect([...tensors]).toEqual([
      ['v', { dtype: 'F16', shape: [3], begin: start - 32, end: start - 26 }],
      ['output.weight', { dtype: 'F32', shape: [V, D], begin: start, end: bytes.length }],
    ]);
    expect([...metadata]).toEqual([['general.architecture', 'llama']]);
  });

  it('has values of every type; of arrays their length', () => {
    const { metadata } = read(
      gguf([], {
        a: { u32: 4_000_000_000 },
        b: { i32: -5 },
        c: { f32: 0.5 },
        d: { u64: 2n ** 60n },
        e: { bool: true },
        f: { string: 'é' },
        g: { i32s: [1, 2, 3] },
        h: { strings: ['a', '[PAD1]', 'b', '[PAD3]', '[PAD4]'] },
        __proto__x: { u32: 1 },
      }),
    );
    expect(Object.fromEntries(metadata)).toEqual({
      a: 4_000_000_000,
      b: -5,
      c: 0.5,
      d: 2n ** 60n,
      e: true,
      f: 'é',
      g: { length: 3, unpadded: 3 },
      h: { length: 5, unpadded: 3 },
      __proto__x: 1,
    });
  });

  it('may be longer than one look at it', () => {
    const strings = Array.from({ length: 60_000 }, (_, i) => `token ${i}`);
    const bytes = gguf([output], { 'tokenizer.ggml.tokens': { strings } });
    expect(read(bytes).tensors.get('output.weight')!.end).toBe(bytes.length);
  });
});

describe('a malformed header is refused', () => {
  const misplaced = gguf([
    { ...output, type: 139 },
    { ...embedding, name: 'b' },
  ]);
  misplaced[110] = 1; // of the second one's place
  const good = gguf([output], { 'general.architecture': { string: 'llama' } });
  const changed = (at: number, ...bytes: number[]) => {
    const copy = Buffer.from(good);
    copy.set(bytes, at);
    return copy;
  };
  const MOST = [255, 255, 255, 255, 255, 255, 255, 127];
  const dimensions = good.indexOf('output.weight') + 13;
  it.each([
    ['another version', changed(4, 9), 'version is 9'],
    ['big-endian', changed(4, 0, 0, 0, 3), 'big-endian'],
    ['more tensors than there is room for', changed(8, ...MOST), 'number of tensors'],
    ['a count just above the room', changed(8, 255, 255), 'number of tensors'],
    ['more keys than there is room for', changed(16, ...MOST), 'number of keys'],
    ['a key longer than the file', changed(24, ...MOST), 'length of a string'],
    ['five dimensions', changed(dimensions, 5), '5 dimensions'],
    ['a dimension of 2^63 − 1', changed(dimensions + 4, ...MOST), '2^53'],
    ['dimensions whose product wraps', changed(dimensions + 8, 1, 0, 0, 0, 0, 0, 0, 0, 1), 'too large'],
    ['an unknown type', changed(dimensions + 20, 77), 'unknown type'],
    ['a tensor elsewhere', changed(dimensions + 24, 32), 'not at 0'],
    ['a file cut short', good.subarray(0, -1), 'cut short'],
    ['a header cut short', good.subarray(0, 60), 'cut short'],
    ['a tensor twice', gguf([output, output]), 'twice'],
    ['a row that is no integral number of blocks', gguf([{ ...output, type: 12 }]), 'no multiple'],
    ['an alignment that is no power of two', gguf([], { 'general.alignment': { u32: 24 } }), 'alignment'],
    ['an alignment of 0', gguf([], { 'general.alignment': { u32: 0 } }), 'alignment'],
    ['an alignment of a wrong type', gguf([], { 'general.alignment': { string: '32' } }), 'alignment'],
    ['a name of 1001 bytes', gguf([output, { ...output, name: 'x'.repeat(1001) }]), '1001 bytes'],
    ['no name below 64 bytes', gguf([{ ...output, name: 'x'.repeat(64) }]), 'longer'],
    ['no place behind one of an unknown size', misplaced, 'not at 0'],
  ])('%s', (_, bytes, ...words) => {
    throwsKind(() => read(bytes), 'FORMAT', 'test.gguf', 'well-formed', ...words);
  });

  it('every cut of a good one', () => {
    for (let length = 0; length < dimensions + 32; length++) {
      throwsKind(() => read(good.subarray(0, length)), 'FORMAT');
    }
  });
});

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

describeConformance('gguf', "llama.cpp's handcrafted files, ggml's own, a vocabulary", () => {
  const verdicts = readFileSync(conformancePath('gguf/handcrafted.tsv')!, 'utf8')
    .trim()
    .split('\n')
    .map(line => line.split('\t') as [file: string, verdict: string]);

  it('are 33', () => {
    expect(verdicts.length).toBe(33);
  });

  it.each(verdicts)('%s: %s', (file, verdict) => {
    const path = conformancePath(`gguf/handcrafted/${file}`)!;
    const bytes = readFileSync(path);
    if (verdict === 'ACCEPT') expect(read(bytes).tensors).toBeInstanceOf(Map);
    else throwsKind(() => read(bytes), 'FORMAT');
    let code: string | undefined;
    try {
      LMHead.openSync(path).close();
    } catch (error) {
      code = (error as LMHeadError).code;
    }
    // A well-formed file need not hold an output matrix.
    if (verdict === 'ACCEPT') expect(code).not.toBe('ERR_LMHEAD_FORMAT');
    else expect(code).toBe('ERR_LMHEAD_FORMAT');
  });

  it('a vocabulary alone', () => {
    const { tensors, metadata } = read(
      readFileSync(conformancePath('gguf/vocab/ggml-vocab-llama-spm.gguf')!),
    );
    expect([tensors.size, metadata.get('tokenizer.ggml.tokens')]).toEqual([
      0,
      { length: 32000, unpadded: 32000 },
    ]);
  });

  describe.each(backends)('%s', backend => {
    it.each(['f32', 'f16', 'bf16'])('%s: the numbers, and the logits of 20 hidden states', type => {
      const floats = (name: string) =>
        new Float32Array(new Uint8Array(readFileSync(conformancePath(name)!)).buffer);
      const head = LMHead.openSync(conformancePath(`gguf/quants/${type}.gguf`)!, { backend });
      expect([head.vocabSize, head.hiddenSize, head.dtype]).toEqual([512, 64, type]);
      const held = head.embed(Array.from({ length: 512 }, (_, i) => i));
      expect(Buffer.compare(bytesOf(held), bytesOf(floats(`gguf/quants/${type}.deq.f32`)))).toBe(0);
      const expected = new Float64Array(
        new Uint8Array(readFileSync(conformancePath(`gguf/quants/${type}.logits20.f64`)!)).buffer,
      );
      const states = floats('stories260K/ref_greedy200/dump_h.bin').subarray(0, 20 * 64);
      expectClose(head.logitsSync(states), expected, { absolute: 2e-5 });
    });

    it('a whole model', () => {
      const head = LMHead.openSync(conformancePath('stories260K/stories260Ktok512.gguf')!, { backend });
      expect([head.vocabSize, head.hiddenSize]).toEqual([512, 64]);
    });
  });
});
