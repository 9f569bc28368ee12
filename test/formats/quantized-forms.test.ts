/**
 * Matrices in the forms that quantizers write: packed here number by number, as their documents say, and unpacked by the library.
 * What they stand for is known in float64 from the start.
 */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { backends } from '../support/backends';
import { bytesOf } from '../support/bytes';
import { throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { narrow } from '../support/half';
import { expectClose, someNumbers } from '../support/numbers';
import { Random } from '../support/random';
import { floats, safetensors, type TensorSpec } from '../support/safetensors';
import { warningsOf } from '../support/warnings';

const folder = temporaryFolder();
let count = 0;

/** A model's folder: tensors, config.json, and metadata. */
function model(tensors: TensorSpec[], config?: object, metadata?: Record<string, string>): string {
  const name = `model-${count++}`;
  folder.file(`${name}/model.safetensors`, safetensors(tensors, metadata));
  if (config) folder.file(`${name}/config.json`, JSON.stringify(config));
  return folder.path(name);
}

/** What a head over `weights` [V,d] in float64 says, against what the head says. */
function expectHead(head: LMHead, weights: Float64Array, d: number): void {
  const v = weights.length / d;
  expect([head.vocabSize, head.hiddenSize]).toEqual([v, d]);
  const hidden = someNumbers(2 * d, 77);
  const logits = Array.from({ length: 2 * v }, (_, i) => {
    const [row, id] = [Math.floor(i / v), i % v];
    let dot = 0;
    for (let k = 0; k < d; k++) dot += hidden[row * d + k] * weights[id * d + k];
    return dot;
  });
  expectClose(head.logitsSync(hidden), logits, { absolute: 1e-4, relative: 1e-5 });
}

/** As `expectHead`, of a head that embeds with the same matrix. */
function expectTied(head: LMHead, weights: Float64Array, d: number): void {
  expectHead(head, weights, d);
  expect(head.tied).toBe(true);
  const ids = Array.from({ length: weights.length / d }, (_, i) => i);
  expect([...head.embed(ids)]).toEqual([...Float32Array.from(weights)]);
}

const codes = (n: number, bits: number, seed: number) => {
  const random = new Random(seed);
  return Array.from({ length: n }, () => random.below(2 ** bits));
};
/** Numbers of a dtype, and what they are. */
function stored(
  dtype: 'F32' | 'F16' | 'BF16',
  n: number,
  seed: number,
): { bytes: Uint8Array; values: Float32Array } {
  const numbers = someNumbers(n, seed);
  if (dtype === 'F32') return { bytes: bytesOf(numbers), values: numbers };
  const bits = narrow(numbers, dtype.toLowerCase() as 'f16' | 'bf16') as Uint16Array;
  return { bytes: bytesOf(bits), values: unpacked(bits, dtype) };
}
const bf16 = (numbers: number[]) =>
  Uint16Array.from(new Uint32Array(Float32Array.from(numbers).buffer), x => x >>> 16);
function unpacked(bits: Uint16Array, dtype: 'F16' | 'BF16'): Float32Array {
  return Float32Array.from(bits, x => {
    if (dtype === 'BF16') return new Float32Array(Uint32Array.of(x << 16).buffer)[0];
    const [sign, exponent, fraction] = [x >> 15 ? -1 : 1, (x >> 10) & 31, (x & 1023) / 1024];
    return sign * (exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15));
  });
}
/** One after another, each from the lowest free bit on: as one large number. */
function bitstream(numbers: readonly number[], bits: number): Uint8Array {
  let all = 0n;
  for (const [i, q] of numbers.entries()) all |= BigInt(q) << BigInt(i * bits);
  const bytes = new Uint8Array((numbers.length * bits) / 8);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number((all >> BigInt(8 * i)) & 255n);
  return bytes;
}
const joined = (parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));
const rowsOf = <T>(list: readonly T[], width: number) =>
  Array.from({ length: list.length / width }, (_, i) => list.slice(i * width, (i + 1) * width));

function mlx(
  module: string,
  v: number,
  d: number,
  bits: number,
  group: number,
  dtype: 'F32' | 'F16' | 'BF16' = 'BF16',
  seed = 1,
) {
  const q = codes(v * d, bits, seed);
  const scales = stored(dtype, (v * d) / group, seed + 1);
  const biases = stored(dtype, (v * d) / group, seed + 2);
  const tensors: TensorSpec[] = [
    {
      name: `${module}.weight`,
      dtype: 'U32',
      shape: [v, (d * bits) / 32],
      bytes: joined(rowsOf(q, d).map(row => bitstream(row, bits))),
    },
    { name: `${module}.scales`, dtype, shape: [v, d / group], bytes: scales.bytes },
    { name: `${module}.biases`, dtype, shape: [v, d / group], bytes: biases.bytes },
  ];
  const weights = Float64Array.from(
    q,
    (x, i) => x * scales.values[Math.floor(i / group)] + biases.values[Math.floor(i / group)],
  );
  return { tensors, weights };
}

describe.each(backends)("MLX's affine quantization, %s", backend => {
  it.each([2, 3, 4, 5, 6, 8].flatMap(bits => [32, 64, 128].map(group => [bits, group] as const)))(
    '%i bits in groups of %i',
    async (bits, group) => {
      const [v, d] = [9, 256];
      for (const dtype of ['BF16', 'F16', 'F32'] as const) {
        const { tensors, weights } = mlx('model.embed_tokens', v, d, bits, group, dtype);
        const config = { model_type: 'qwen3', vocab_size: v, hidden_size: d, tie_word_embeddings: true };
        const path = model(
          tensors,
          { ...config, quantization: { group_size: group, bits } },
          { format: 'mlx' },
        );
        const { result: head, warnings } = await warningsOf(() => LMHead.open(path, { backend }));
        expect(warnings).toEqual([]);
        const inPlace = dtype !== 'F32' && (bits === 4 || bits === 8);
        expect(head.dtype).toBe(inPlace ? `mlx${bits}` : 'f32');
        expectTied(head, weights, d);
        head.close();
      }
    },
  );

  it('untied, each module in a way of its own, with its norm', () => {
    const [v, d] = [7, 128];
    const output = mlx('language_model.lm_head', v, d, 8, 32, 'F16', 10);
    const input = mlx('language_model.model.embed_tokens', v, d, 4, 64, 'F16', 20);
    const norm = someNumbers(d, 5);
    const text = {
      model_type: 'llama',
      vocab_size: v,
      hidden_size: d,
      rms_norm_eps: 1e-5,
      tie_word_embeddings: false,
    };
    const path = model(
      [...output.tensors, ...input.tensors, floats('language_model.model.norm.weight', [d], norm)],
      {
        ...{ model_type: 'llava', text_config: text },
        quantization: {
          group_size: 64,
          bits: 4,
          'language_model.lm_head': { group_size: 32, bits: 8 },
          'vision_tower.x': false,
        },
      },
    );
    const head = LMHead.openSync(path, { backend });
    expectHead(head, output.weights, d);
    expect([head.tied, ...head.embed([3])]).toEqual([
      false,
      ...Float32Array.from(input.weights.subarray(3 * d, 4 * d)),
    ]);
    const h = someNumbers(d, 6);
    const scale = 1 / Math.sqrt(h.reduce((sum, x) => sum + x * x, 0) / d + 1e-5);
    const expected = Array.from({ length: v }, (_, id) =>
      h.reduce((sum, x, k) => sum + x * scale * norm[k] * output.weights[id * d + k], 0),
    );
    expectClose(head.logitsSync(h, { norm: true }), expected, { absolute: 1e-4, relative: 1e-5 });
  });
});

describe.each(backends)("MLX's 4 and 8 bits, used in place, %s", backend => {
  const [v, d] = [70, 192];
  const cases = [4, 8].flatMap(bits =>
    (['F16', 'BF16'] as const).flatMap(dtype => [32, 64].map(group => [bits, dtype, group] as const)),
  );
  const config = { model_type: 'qwen3', vocab_size: v, hidden_size: d, tie_word_embeddings: true };

  it.each(cases)(
    '%i bits, %s, groups of %i: every method, as over the numbers that they stand for',
    async (...kind) => {
      const [bits, dtype, group] = kind;
      const { tensors, weights } = mlx('model.embed_tokens', v, d, bits, group, dtype);
      const path = model(tensors, { ...config, quantization: { bits, group_size: group } });
      const same = LMHead.from(Float32Array.from(weights), { vocabSize: v, hiddenSize: d, backend });
      const hidden = someNumbers(6 * d, 3);
      const request = { logits: true, logProbs: true, top: 5, argmax: true, sample: true, seed: 1 } as const;
      const saved = folder.path(`saved-mlx-${kind.join('-')}.safetensors`);
      const mapped = LMHead.openSync(path, { backend });
      await mapped.save(saved);
      const heads = [
        mapped,
        LMHead.openSync(path, { backend, mmap: false }),
        await LMHead.open(path, { backend, mmap: false }),
        LMHead.attach(structuredClone(mapped.handle)),
        LMHead.openSync(saved, { backend }),
        LMHead.attach(LMHead.openSync(path, { backend, mmap: false }).handle),
      ];
      for (const head of heads) {
        expect([head.dtype, head.tied]).toEqual([`mlx${bits}`, true]);
        for (const n of [1, 2, 5, 6]) {
          const some = hidden.subarray(0, n * d);
          expect(head.runSync(some, request)).toEqual(same.runSync(some, request));
        }
        const rows = [3, 5, 8, 40, 69];
        expect(head.logitsSync(hidden, { rows })).toEqual(same.logitsSync(hidden, { rows }));
        expect(head.embed([69, 0])).toEqual(same.embed([69, 0]));
        expect(head.nearestSync(4, 3)).toEqual(same.nearestSync(4, 3));
        expect(await head.verify(hidden)).toMatchObject({ ok: true, argmaxAgrees: true });
        const { head: quantized } = await head.quantize('i8');
        const { head: wanted } = await same.quantize('i8');
        expect(quantized.logitsSync(hidden)).toEqual(wanted.logitsSync(hidden));
      }
    },
  );

  it('near the end of float32: rounded once, whatever a product alone would be', () => {
    const [v, d] = [4, 32];
    // Of the largest scales three times one is beyond float32; with the bias it is not, or is.
    const scales = bf16([2 ** 127, 2 ** 127, -(2 ** 127), 2 ** -133]);
    const biases = bf16([-255 * 2 ** 120, 2 ** 127, 255 * 2 ** 120, 2 ** -133]);
    for (const bits of [4, 8]) {
      const tensors: TensorSpec[] = [
        {
          name: 'lm_head.weight',
          dtype: 'U32',
          shape: [v, (d * bits) / 32],
          bytes: joined(Array.from({ length: v }, () => bitstream(Array(d).fill(3), bits))),
        },
        { name: 'lm_head.scales', dtype: 'BF16', shape: [v, 1], bytes: bytesOf(scales) },
        { name: 'lm_head.biases', dtype: 'BF16', shape: [v, 1], bytes: bytesOf(biases) },
      ];
      const config = {
        model_type: 'llama',
        tie_word_embeddings: true,
        quantization: { bits, group_size: 32 },
      };
      const head = LMHead.openSync(model(tensors, config), { backend });
      const numbers = [0, 1, 2, 3].map(id => head.embed([id])[0]);
      expect(numbers).toEqual([129 * 2 ** 120, Infinity, -129 * 2 ** 120, 4 * 2 ** -133]);
      const hidden = new Float32Array(d);
      hidden[3] = 2 ** -120;
      expect([0, 2].map(id => head.logitsSync(hidden, { rows: [id] })[0])).toEqual([129, -129]);
    }
  });

  it('as an input embedding of more rows, and in files of their own', async () => {
    const output = mlx('lm_head', v, d, 8, 64, 'F16', 10);
    const input = mlx('model.embed_tokens', v + 8, d, 4, 32, 'F16', 20);
    const all = [...output.tensors, ...input.tensors];
    const name = `apart-${backend}`;
    const map: Record<string, string> = {};
    for (const [i, tensor] of all.entries()) {
      map[tensor.name] = `${i}.safetensors`;
      folder.file(`${name}/${i}.safetensors`, safetensors([tensor]));
    }
    folder.file(`${name}/model.safetensors.index.json`, JSON.stringify({ weight_map: map }));
    const quantization = { bits: 8, group_size: 64, 'model.embed_tokens': { bits: 4, group_size: 32 } };
    folder.file(
      `${name}/config.json`,
      JSON.stringify({ ...config, tie_word_embeddings: false, quantization }),
    );
    const head = LMHead.openSync(folder.path(name), { backend });
    const saved = folder.path(`saved-${name}.safetensors`);
    head.saveSync(saved);
    const { head: quantized } = await head.quantize('q8_0');
    for (const each of [head, LMHead.openSync(saved, { backend }), LMHead.attach(head.handle), quantized]) {
      expect([each.tied, each.inputVocabSize]).toEqual([false, v + 8]);
      expect([...each.embed([v + 7])]).toEqual([...Float32Array.from(input.weights.subarray((v + 7) * d))]);
      if (each !== quantized) expectHead(each, output.weights, d);
    }
  });

  it('of a damaged handle is refused', () => {
    const { tensors } = mlx('model.embed_tokens', v, d, 4, 64, 'F16');
    const path = model(tensors, { ...config, quantization: { bits: 4, group_size: 64 } });
    const { handle } = LMHead.openSync(path, { backend, mmap: false });
    type Damaged = { output: { groups?: { size: unknown } } };
    for (const groups of [
      undefined,
      { size: 63 },
      { size: 0 },
      { size: 64, dtype: 'f32' },
      { size: 32, dtype: 'f16' },
    ]) {
      const damaged = structuredClone(handle) as Damaged;
      damaged.output.groups = groups as Damaged['output']['groups'];
      // Native weights are known by themselves: what a handle says of them need only be possible.
      if (backend === 'native' && groups?.size === 32) continue;
      throwsKind(() => LMHead.attach(damaged), 'ARGUMENT', 'handle', 'damaged');
    }
  });

  it('are no dtype of weights in memory', () => {
    const options = { vocabSize: 2, hiddenSize: 64, dtype: 'mlx4' as const, backend };
    throwsKind(() => LMHead.from(new Uint8Array(64), options), 'DTYPE', 'mlx4', 'q8_0');
  });
});

it('what comes to more than float32 holds is refused where it is converted', () => {
  const large = (name: string, shape: number[], x: number, n = shape.reduce((a, b) => a * b, 1)) =>
    floats(name, shape, new Float32Array(n).fill(x));
  const config = { model_type: 'llama', hidden_size: 32, tie_word_embeddings: true };
  const words = (count: number) => new Uint8Array(4 * count).fill(0x77);
  const mlx6 = [
    { name: 'lm_head.weight', dtype: 'U32', shape: [2, 6], bytes: words(12) },
    large('lm_head.scales', [2, 1], 2 ** 127),
    large('lm_head.biases', [2, 1], 0),
  ];
  const fp8 = [
    { name: 'lm_head.weight', dtype: 'F8_E4M3', shape: [2, 32], bytes: new Uint8Array(64).fill(0x77) },
    large('lm_head.weight_scale', [1], -(2 ** 127)),
  ];
  const mxfp4 = [
    { name: 'lm_head.weight', dtype: 'U32', shape: [2, 4], bytes: words(8) },
    { name: 'lm_head.scales', dtype: 'U8', shape: [2, 1], bytes: new Uint8Array(2).fill(254) },
  ];
  for (const tensors of [mlx6, fp8, mxfp4]) {
    throwsKind(
      () => LMHead.openSync(model(tensors, config)),
      'RANGE',
      'lm_head.weight',
      'beyond float32 in row 0',
    );
  }
});

it.each<[string, (infinity: number) => TensorSpec[]]>([
  [
    'FP8, as a number',
    infinity => {
      const bytes = new Uint8Array(64).fill(0x3c);
      bytes[32 + 5] = infinity < 0 ? 0xfc : 0x7c;
      return [
        { name: 'lm_head.weight', dtype: 'F8_E5M2', shape: [2, 32], bytes },
        floats('lm_head.weight_scale', [1], Float32Array.of(2)),
      ];
    },
  ],
  ...(['F32', 'F16', 'BF16', 'F64'] as const).map((dtype): [string, (infinity: number) => TensorSpec[]] => [
    `FP8, as a scale in ${dtype}`,
    infinity => {
      const scales = [2, infinity];
      const bytes = {
        F64: () => bytesOf(Float64Array.from(scales)),
        F32: () => bytesOf(Float32Array.from(scales)),
        F16: () => bytesOf(Uint16Array.of(0x4000, infinity < 0 ? 0xfc00 : 0x7c00)),
        BF16: () => bytesOf(Uint16Array.of(0x4000, infinity < 0 ? 0xff80 : 0x7f80)),
      }[dtype]();
      return [
        { name: 'lm_head.weight', dtype: 'F8_E4M3', shape: [2, 32], bytes: new Uint8Array(64).fill(0x38) },
        { name: 'lm_head.weight_scale', dtype, shape: [2], bytes },
      ];
    },
  ]),
])('an infinity that is stored opens, as in a file of floats: %s', (_, tensors) => {
  const config = { model_type: 'llama', hidden_size: 32, tie_word_embeddings: true };
  for (const infinity of [Infinity, -Infinity]) {
    const head = LMHead.openSync(model(tensors(infinity), config));
    expect([head.embed([0])[5], head.embed([1])[5]]).toEqual([2, infinity]);
    head.close();
  }
});

describe("MLX's", () => {
  const [v, d] = [5, 128];
  const e2m1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
  const fp4 = (code: number) => (code & 8 ? -1 : 1) * e2m1[code & 7];
  const words = (module: string, q: number[], bits: number): TensorSpec => ({
    ...{ name: `${module}.weight`, dtype: 'U32', shape: [v, (d * bits) / 32] },
    bytes: joined(rowsOf(q, d).map(row => bitstream(row, bits))),
  });

  it.each([
    ['mxfp4', 4, 32, fp4, (s: number) => 2 ** (s - 127)],
    ['nvfp4', 4, 16, fp4, e4m3],
    ['mxfp8', 8, 32, e4m3, (s: number) => 2 ** (s - 127)],
  ] as const)('mode %s', (mode, bits, group, number, scale) => {
    const q = codes(v * d, bits, 3).map(x => (mode === 'mxfp8' && (x & 127) === 127 ? 0 : x));
    const scales = codes((v * d) / group, 4, 4).map(x => x + 120 - (mode === 'nvfp4' ? 100 : 0));
    const tensors = [
      words('model.embed_tokens', q, bits),
      {
        name: 'model.embed_tokens.scales',
        dtype: 'U8',
        shape: [v, d / group],
        bytes: Uint8Array.from(scales),
      },
    ];
    const config = { model_type: 'llama', hidden_size: d, tie_word_embeddings: true };
    const head = LMHead.openSync(
      model(tensors, { ...config, quantization: { group_size: group, bits, mode } }),
    );
    expectTied(
      head,
      Float64Array.from(q, (x, i) => number(x) * scale(scales[Math.floor(i / group)])),
      d,
    );
    throwsKind(
      () => LMHead.openSync(model(tensors, { ...config, quantization: { mode: 'fp6' } })),
      'DTYPE',
      'fp6',
      'mxfp4',
    );
  });

  it('bits are known by the hidden size too, and else where only some can be', () => {
    const four = mlx('model.embed_tokens', v, d, 4, 64);
    const config = { model_type: 'llama', tie_word_embeddings: true };
    expectTied(LMHead.openSync(model(four.tensors, { ...config, hidden_size: d })), four.weights, d);
    throwsKind(
      () => LMHead.openSync(model(four.tensors)),
      'SHAPE',
      '4 bits in groups of 64 or 8 bits in groups of 32',
      'config.json',
    );
    const five = mlx('model.embed_tokens', v, d, 5, 128);
    expectTied(LMHead.openSync(model(five.tensors)), five.weights, d);
  });

  it('sizes that contradict each other are refused', () => {
    const { tensors } = mlx('model.embed_tokens', v, d, 4, 64);
    const [weight, scales, biases] = tensors;
    const config = { model_type: 'llama', hidden_size: d, tie_word_embeddings: true };
    const open = (list: TensorSpec[], more: object = {}) =>
      LMHead.openSync(model(list, { ...config, ...more }));
    throwsKind(
      () => open(tensors, { quantization: { bits: 8, group_size: 64 } }),
      'SHAPE',
      '8 bits',
      'groups of 64',
    );
    throwsKind(() => open(tensors, { hidden_size: d + 32 }), 'SHAPE', `${d + 32}`);
    throwsKind(
      () => open([weight, { ...scales, shape: [v * 2, 1] }, biases]),
      'SHAPE',
      'embed_tokens.scales',
    );
    throwsKind(
      () => open([weight, scales, { ...biases, shape: [v * 2, 1] }]),
      'SHAPE',
      'embed_tokens.biases',
    );
    throwsKind(() => open([weight, { ...scales, dtype: 'U16' }, biases]), 'SHAPE', 'embed_tokens.scales');
    throwsKind(() => open([{ ...weight, shape: [v * 16] }, scales, biases]), 'SHAPE', 'embed_tokens.weight');
  });
});

/** By its parts: sign, four bits of exponent with bias 7, three of fraction; no infinities. */
function e4m3(code: number): number {
  const [sign, exponent, fraction] = [code & 128 ? -1 : 1, (code >> 3) & 15, code & 7];
  if (exponent === 15 && fraction === 7) return NaN;
  return sign * (exponent === 0 ? (fraction / 8) * 2 ** -6 : (1 + fraction / 8) * 2 ** (exponent - 7));
}
function e5m2(code: number): number {
  const [sign, exponent, fraction] = [code & 128 ? -1 : 1, (code >> 2) & 31, code & 3];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? (fraction / 4) * 2 ** -14 : (1 + fraction / 4) * 2 ** (exponent - 15));
}

describe('FP8', () => {
  const [v, d] = [200, 160];
  const q = codes(v * d, 8, 5).map(x => ((x & 0x7c) === 0x7c ? 0 : x)); // nothing that is not finite
  const matrix = (dtype = 'F8_E4M3'): TensorSpec => ({
    name: 'lm_head.weight',
    dtype,
    shape: [v, d],
    bytes: Uint8Array.from(q),
  });
  const open = (tensors: TensorSpec[], config: object = {}) =>
    LMHead.openSync(
      model(tensors, { model_type: 'llama', hidden_size: d, tie_word_embeddings: true, ...config }),
    );

  it.each([
    ['one scale', [], () => 0],
    ['one scale', [1], () => 0],
    ['one for each row', [v], (row: number) => row],
    ['one for each row', [v, 1], (row: number) => row],
    ['one for each block of 128 × 128', [2, 2], (row: number, k: number) => (row >> 7) * 2 + (k >> 7)],
    ['one for each group of a row', [v, 5], (row: number, k: number) => row * 5 + Math.floor(k / 32)],
  ] as [string, number[], (row: number, k: number) => number][])('with %s, %j', (_, shape, at) => {
    for (const [dtype, number] of [
      ['F8_E4M3', e4m3],
      ['F8_E5M2', e5m2],
    ] as const) {
      for (const scaleDtype of ['F32', 'BF16'] as const) {
        const scales = stored(
          scaleDtype,
          shape.reduce((a, b) => a * b, 1),
          6,
        );
        for (let i = 0; i < scales.values.length; i++)
          if (scales.values[i] === 0) throw new Error('a scale of 0');
        const small = dtype === 'F8_E5M2' ? 2 ** -12 : 2 ** -7;
        const weights = Float64Array.from(
          q,
          (x, i) => number(x) * scales.values[at(Math.floor(i / d), i % d)],
        );
        // Of numbers up to 57344 the sums are large: compared as if they were near 1.
        const head = open([
          matrix(dtype),
          { name: 'lm_head.weight_scale', dtype: scaleDtype, shape, bytes: scales.bytes },
        ]);
        expect([...head.embed([v - 1])]).toEqual([...Float32Array.from(weights.subarray((v - 1) * d))]);
        const h = someNumbers(d, 7).map(x => x * small);
        const expected = Array.from({ length: v }, (_, id) =>
          h.reduce((sum, x, k) => sum + x * weights[id * d + k], 0),
        );
        expectClose(head.logitsSync(h), expected, { absolute: 1e-4, relative: 1e-5 });
        head.close();
      }
    }
  });

  it('with inverse scales, in blocks of the size that the config says', () => {
    const scales = stored('F32', 4 * 5, 8);
    const at = (i: number) => Math.floor(i / d / 64) * 5 + Math.floor((i % d) / 32);
    const head = open(
      [matrix(), { name: 'lm_head.weight_scale_inv', dtype: 'F32', shape: [4, 5], bytes: scales.bytes }],
      {
        quantization_config: { quant_method: 'fp8', weight_block_size: [64, 32] },
      },
    );
    const weights = Float64Array.from(q, (x, i) => e4m3(x) * scales.values[at(i)]);
    expect([...head.embed([130])]).toEqual([...Float32Array.from(weights.subarray(130 * d, 131 * d))]);
  });

  it('with scales that are powers of two', () => {
    const scales = Uint8Array.from(codes(4, 3, 9), x => x + 120);
    const head = open([
      matrix(),
      { name: 'lm_head.weight_scale_inv', dtype: 'F8_E8M0', shape: [2, 2], bytes: scales },
    ]);
    const weights = Float64Array.from(
      q,
      (x, i) => e4m3(x) * 2 ** (scales[(Math.floor(i / d) >> 7) * 2 + ((i % d) >> 7)] - 127),
    );
    expect([...head.embed([130])]).toEqual([...Float32Array.from(weights.subarray(130 * d, 131 * d))]);
  });

  it('without a scale is refused', () => {
    throwsKind(() => open([matrix()]), 'DTYPE', 'lm_head.weight', 'F8_E4M3', 'weight_scale');
  });

  it('with scales that fit no part of it is refused', () => {
    for (const shape of [[3], [2, 3, 1], [v, 7], [0]]) {
      const n = shape.reduce((a, b) => a * b, 1);
      const scale = { name: 'lm_head.weight_scale', dtype: 'F32', shape, bytes: new Uint8Array(4 * n) };
      throwsKind(() => open([matrix(), scale]), 'SHAPE', 'lm_head.weight_scale');
    }
    const scale = { name: 'lm_head.weight_scale', dtype: 'I32', shape: [1], bytes: new Uint8Array(4) };
    throwsKind(() => open([matrix(), scale]), 'SHAPE', 'lm_head.weight_scale', 'I32');
  });
});

describe.each(backends)('int8, %s', backend => {
  const [v, d] = [6, 40];
  const q = Int8Array.from(codes(v * d, 8, 11), x => x - 128);
  const weight = { name: 'lm_head.weight', dtype: 'I8', shape: [v, d], bytes: bytesOf(q) };
  const config = { model_type: 'llama', hidden_size: d, tie_word_embeddings: true };

  it.each([
    ['weight_scale', [v, 1], 1],
    ['weight_scale', [v], 1],
    ['weight_scale', [1], 1],
    ['SCB', [v], 127],
  ] as const)('with %s %j', (leaf, shape, divisor) => {
    for (const dtype of ['F32', 'BF16'] as const) {
      const scales = stored(dtype, shape[0], 12);
      const scale = { name: `lm_head.${leaf}`, dtype, shape: [...shape], bytes: scales.bytes };
      const head = LMHead.openSync(model([weight, scale], config), { backend });
      expect(head.dtype).toBe('i8');
      const at = (i: number) => Math.fround(scales.values[shape[0] === 1 ? 0 : Math.floor(i / d)] / divisor);
      expectTied(
        head,
        Float64Array.from(q, (x, i) => x * at(i)),
        d,
      );
      head.close();
    }
  });

  it('without scales, or with zero points, is refused', () => {
    throwsKind(() => LMHead.openSync(model([weight], config), { backend }), 'DTYPE', 'I8');
    const scale = floats('lm_head.weight_scale', [v, 1], someNumbers(v, 1));
    const zero = { name: 'lm_head.weight_zero_point', dtype: 'I8', shape: [v, 1], bytes: new Uint8Array(v) };
    throwsKind(
      () => LMHead.openSync(model([weight, scale, zero], config), { backend }),
      'DTYPE',
      'zero_point',
    );
    const two = floats('lm_head.weight_scale', [2], someNumbers(2, 1));
    throwsKind(
      () => LMHead.openSync(model([weight, two], config), { backend }),
      'SHAPE',
      'lm_head.weight_scale',
    );
  });
});

/** Numbers of a column after another, into 32-bit words. */
const word = (numbers: readonly number[], bits: number) =>
  numbers.reduce((sum, q, i) => sum + q * 2 ** (bits * i), 0);

describe("compressed-tensors' packed numbers", () => {
  const [v, d] = [12, 64];
  it.each([
    [4, 16, false],
    [4, 64, false],
    [4, 32, true],
    [8, 32, true],
  ] as const)('%i bits, groups of %i, zero points: %s', (bits, group, zeroPoints) => {
    const [groups, per] = [d / group, 32 / bits];
    const q = codes(v * d, bits, 21);
    const z = zeroPoints ? codes(v * groups, bits, 22) : Array<number>(v * groups).fill(2 ** (bits - 1));
    const scales = stored('BF16', v * groups, 23);
    const packed = Uint32Array.from(rowsOf(q, per), each => word(each, bits));
    const tensors: TensorSpec[] = [
      { name: 'lm_head.weight_packed', dtype: 'I32', shape: [v, d / per], bytes: bytesOf(packed) },
      { name: 'lm_head.weight_scale', dtype: 'BF16', shape: [v, groups], bytes: scales.bytes },
      {
        name: 'lm_head.weight_shape',
        dtype: 'I64',
        shape: [2],
        bytes: bytesOf(BigInt64Array.of(BigInt(v), BigInt(d))),
      },
    ];
    if (zeroPoints) {
      // Down the rows: word w of a group has rows w·per and those after it.
      const down = Array.from({ length: Math.ceil(v / per) * groups }, (_, i) => {
        const [w, g] = [Math.floor(i / groups), i % groups];
        return word(
          Array.from({ length: per }, (_, j) => z[(w * per + j) * groups + g] ?? 0),
          bits,
        );
      });
      tensors.push({
        ...{ name: 'lm_head.weight_zero_point', dtype: 'I32', shape: [Math.ceil(v / per), groups] },
        bytes: bytesOf(Uint32Array.from(down)),
      });
    }
    const weights = Float64Array.from(q, (x, i) => {
      const at = Math.floor(i / d) * groups + Math.floor((i % d) / group);
      return (x - z[at]) * scales.values[at];
    });
    const config = { model_type: 'llama', hidden_size: d, tie_word_embeddings: true };
    expectTied(LMHead.openSync(model(tensors, config)), weights, d);
    tensors[2].bytes = bytesOf(BigInt64Array.of(BigInt(v), BigInt(d + 1)));
    throwsKind(() => LMHead.openSync(model(tensors, config)), 'SHAPE', 'weight_shape', `${d + 1}`);
    const order = { name: 'lm_head.weight_g_idx', dtype: 'I32', shape: [d], bytes: new Uint8Array(4 * d) };
    throwsKind(() => LMHead.openSync(model([...tensors, order], config)), 'DTYPE', 'weight_g_idx');
    throwsKind(() => LMHead.openSync(model([tensors[0]], config)), 'TENSOR', 'lm_head.weight_scale');
  });
});

describe('GPTQ', () => {
  const [v, d] = [32, 64];
  it.each([
    [4, 16, 'gptq', false, true],
    [4, 64, 'gptq', false, true],
    [4, 16, 'gptq_v2', false, true],
    [4, 16, 'gptq', true, true],
    [4, 16, 'gptq', false, false],
    [8, 32, 'gptq', false, true],
    [2, 32, 'gptq', true, true],
  ] as const)(
    '%i bits, groups of %i, %s, in another order: %s, zero points: %s',
    (bits, group, format, order, zeroPoints) => {
      const [groups, per] = [d / group, 32 / bits];
      const q = codes(d * v, bits, 31); // [d, V]
      const z = zeroPoints ? codes(groups * v, bits, 32) : Array<number>(groups * v).fill(2 ** (bits - 1));
      const scales = stored('F16', groups * v, 33);
      const less = format === 'gptq' && zeroPoints ? 1 : 0;
      const random = new Random(34);
      const of = Array.from({ length: d }, (_, k) => (order ? random.below(groups) : Math.floor(k / group)));
      const qweight = Array.from({ length: (d / per) * v }, (_, i) => {
        const [p, o] = [Math.floor(i / v), i % v];
        return word(
          Array.from({ length: per }, (_, j) => q[(p * per + j) * v + o]),
          bits,
        );
      });
      const tensors: TensorSpec[] = [
        {
          name: 'lm_head.qweight',
          dtype: 'I32',
          shape: [d / per, v],
          bytes: bytesOf(Uint32Array.from(qweight)),
        },
        { name: 'lm_head.scales', dtype: 'F16', shape: [groups, v], bytes: scales.bytes },
      ];
      if (zeroPoints) {
        const packed = Uint32Array.from(rowsOf(z, per), each => word(each, bits));
        tensors.push({
          name: 'lm_head.qzeros',
          dtype: 'I32',
          shape: [groups, v / per],
          bytes: bytesOf(packed),
        });
      }
      if (order)
        tensors.push({
          name: 'lm_head.g_idx',
          dtype: 'I32',
          shape: [d],
          bytes: bytesOf(Int32Array.from(of)),
        });
      const weights = new Float64Array(v * d);
      for (let o = 0; o < v; o++) {
        for (let k = 0; k < d; k++) {
          weights[o * d + k] = (q[k * v + o] - (z[of[k] * v + o] + less)) * scales.values[of[k] * v + o];
        }
      }
      const config = { model_type: 'llama', hidden_size: d, tie_word_embeddings: true };
      const quantization_config = {
        quant_method: 'gptq',
        bits,
        group_size: group,
        checkpoint_format: format,
      };
      expectTied(LMHead.openSync(model(tensors, { ...config, quantization_config })), weights, d);
      const path = model(tensors, config);
      folder.file(
        `${path.slice(folder.path('').length)}/quantize_config.json`,
        JSON.stringify(quantization_config),
      );
      expectTied(LMHead.openSync(path), weights, d);
      if (order) {
        const wrong = { ...tensors[tensors.length - 1], bytes: bytesOf(new Int32Array(d).fill(-1)) };
        const list = [...tensors.slice(0, -1), wrong];
        throwsKind(() => LMHead.openSync(model(list, { ...config, quantization_config })), 'FORMAT', 'g_idx');
      }
    },
  );

  it('of three bits, or with tensors that do not go together, is refused', () => {
    const config = { model_type: 'llama', tie_word_embeddings: true };
    const qweight = { name: 'lm_head.qweight', dtype: 'I32', shape: [6, v], bytes: new Uint8Array(24 * v) };
    const scales = { name: 'lm_head.scales', dtype: 'F16', shape: [1, v], bytes: new Uint8Array(2 * v) };
    const open = (tensors: TensorSpec[], more: object = {}) =>
      LMHead.openSync(model(tensors, { ...config, ...more }));
    throwsKind(() => open([qweight, scales], { quantization_config: { bits: 3 } }), 'DTYPE', '3 bits');
    throwsKind(() => open([qweight, scales], { hidden_size: 40 }), 'DTYPE', 'bits');
    const zeros = { name: 'lm_head.qzeros', dtype: 'I32', shape: [1, 3], bytes: new Uint8Array(12) };
    throwsKind(() => open([qweight, scales, zeros]), 'DTYPE', '3 bits');
    const four = { quantization_config: { bits: 4 } };
    throwsKind(() => open([qweight, scales, zeros], four), 'SHAPE', 'qzeros');
    throwsKind(() => open([qweight, { ...scales, shape: [2, v / 2] }]), 'SHAPE', 'qweight');
    throwsKind(() => open([qweight, { ...scales, shape: [v] }]), 'SHAPE', 'scales');
  });
});

describe('AWQ', () => {
  const [v, d] = [40, 64];
  it.each([16, 64])('in groups of %i', group => {
    const groups = d / group;
    const order = [0, 2, 4, 6, 1, 3, 5, 7];
    const pack = (numbers: readonly number[]) =>
      Uint32Array.from(rowsOf(numbers, 8), eight =>
        word(
          order.map(column => eight[column]),
          4,
        ),
      );
    const q = codes(d * v, 4, 41); // [d, V]
    const z = codes(groups * v, 4, 42);
    const scales = stored('F16', groups * v, 43);
    const tensors: TensorSpec[] = [
      { name: 'lm_head.qweight', dtype: 'I32', shape: [d, v / 8], bytes: bytesOf(pack(q)) },
      { name: 'lm_head.qzeros', dtype: 'I32', shape: [groups, v / 8], bytes: bytesOf(pack(z)) },
      { name: 'lm_head.scales', dtype: 'F16', shape: [groups, v], bytes: scales.bytes },
    ];
    const weights = new Float64Array(v * d);
    for (let o = 0; o < v; o++) {
      for (let k = 0; k < d; k++) {
        const at = Math.floor(k / group) * v + o;
        weights[o * d + k] = (q[k * v + o] - z[at]) * scales.values[at];
      }
    }
    const config = { model_type: 'llama', hidden_size: d, tie_word_embeddings: true };
    const quantization_config = { quant_method: 'awq', bits: 4, group_size: group };
    expectTied(LMHead.openSync(model(tensors, { ...config, quantization_config })), weights, d);
    // By the option, and in shards.
    expectHead(LMHead.openSync(model(tensors), { tensor: 'lm_head.qweight' }), weights, d);
    folder.file('awq/a.safetensors', safetensors(tensors.slice(0, 1)));
    folder.file('awq/b.safetensors', safetensors(tensors.slice(1)));
    const map = Object.fromEntries(
      tensors.map(({ name }, i) => [name, i === 0 ? 'a.safetensors' : 'b.safetensors']),
    );
    folder.file('awq/config.json', JSON.stringify({ ...config, quantization_config }));
    folder.file('awq/model.safetensors.index.json', JSON.stringify({ weight_map: map }));
    expectTied(LMHead.openSync(folder.path('awq')), weights, d);
  });
});

it('a quantized embedding keeps no head from opening, and a quantized head no embedding from embedding', () => {
  const [v, d] = [8, 64];
  const plain = someNumbers(v * d, 51);
  const quantized = mlx('model.embed_tokens', v, d, 4, 32);
  const config = {
    model_type: 'llama',
    hidden_size: d,
    tie_word_embeddings: false,
    quantization: { bits: 4, group_size: 32 },
  };
  const head = LMHead.openSync(
    model([...quantized.tensors, floats('lm_head.weight', [v, d], plain)], config),
  );
  expectHead(head, Float64Array.from(plain), d);
  expect([...head.embed([2])]).toEqual([...Float32Array.from(quantized.weights.subarray(2 * d, 3 * d))]);
  const broken = quantized.tensors.map(tensor => ({
    ...tensor,
    name: tensor.name.replace('scales', 'scale_s'),
  }));
  const half = LMHead.openSync(model([...broken, floats('lm_head.weight', [v, d], plain)], config));
  expectHead(half, Float64Array.from(plain), d);
  throwsKind(() => half.embed([2]), 'TENSOR', 'model.embed_tokens');
});

it('tied according to the config, and stored twice in one form: one matrix', async () => {
  const [v, d] = [8, 64];
  const config = {
    model_type: 'llama',
    hidden_size: d,
    tie_word_embeddings: true,
    quantization: { bits: 4, group_size: 32 },
  };
  const [a, b] = [mlx('model.embed_tokens', v, d, 4, 32), mlx('lm_head', v, d, 4, 32)];
  const same = await warningsOf(() => LMHead.open(model([...a.tensors, ...b.tensors], config)));
  expect([same.result.tied, same.warnings]).toEqual([true, []]);
  const c = mlx('lm_head', v, d, 4, 32, 'BF16', 9);
  const other = await warningsOf(() => LMHead.open(model([...a.tensors, ...c.tensors], config)));
  expect([other.result.tied, other.warnings.length]).toEqual([false, 1]);
  expectHead(other.result, c.weights, d);
});
