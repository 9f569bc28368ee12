/** Good files and folders of every kind, and what has to hold of any change to them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { matrixBytes } from '../../lib/dtypes/row-format';
import { LMHeadError } from '../../lib/errors';
import { headPlan } from '../../lib/head/open';
import { bytesOf } from './bytes';
import { conformancePath } from './conformance';
import { BF16, F32, gguf, QUANTIZED_TYPES } from './gguf';
import { narrow } from './half';
import { type Asked, fromFiles } from './memory-files';
import { mutated } from './mutations';
import { npy } from './npy';
import { someNumbers } from './numbers';
import { Graph } from './onnx';
import { type CheckpointTensor, checkpoint, legacyCheckpoint } from './pickle';
import { someQuantized } from './quantized';
import { Random } from './random';
import { floats, safetensors, type TensorSpec } from './safetensors';
import { zip } from './zip';

/** A folder of files; `path` is what is opened. */
export interface Material {
  path: string;
  files: Map<string, Uint8Array>;
}

const [V, D] = [5, 4];
const weight = someNumbers(V * D, 1);
const matrix = floats('lm_head.weight', [V, D], weight);
const embedding = floats('model.embed_tokens.weight', [V, D], weight);
const norm = floats('model.norm.weight', [D], weight.subarray(0, D));
const bias = floats('lm_head.bias', [V], weight.subarray(0, V));
const saved = {
  lmhead: JSON.stringify({
    tied: true,
    vocabSize: 4,
    softCap: 30,
    norm: { type: 'rmsnorm', eps: 1e-6, offset: 1 },
  }),
};
const config = {
  model_type: 'granite',
  vocab_size: V,
  hidden_size: D,
  logits_scaling: 8,
  tie_word_embeddings: true,
};
const parts = {
  model_type: 'gemma3',
  text_config: { ...config, model_type: 'gemma2', final_logit_softcapping: 30 },
};
const tokenizer = {
  added_tokens: [{ id: 3, content: 'x' }],
  model: { type: 'BPE', vocab: { a: 0, b: 1 }, merges: ['a b'] },
};

/** Matrices in the forms of quantizers, [8,64]. */
const words = (name: string, dtype: string, shape: number[], each: number): TensorSpec => ({
  name,
  dtype,
  shape,
  bytes: Uint8Array.from(someNumbers(shape.reduce((a, b) => a * b) * each, 3), x => (x + 1) * 128),
});
/** E5M2, whose exponents are below their largest. */
const noInfinities = (tensor: TensorSpec) => ({ ...tensor, bytes: tensor.bytes.map(byte => byte & 0xbf) });
/** Scales that numbers fit float32 with. */
const scales = (name: string, shape: number[]) =>
  floats(
    name,
    shape,
    someNumbers(
      shape.reduce((a, b) => a * b),
      5,
    ),
  );
const mlx = [
  words('model.embed_tokens.weight', 'U32', [8, 8], 4),
  words('model.embed_tokens.scales', 'F16', [8, 2], 2),
  words('model.embed_tokens.biases', 'F16', [8, 2], 2),
];
const mlx8 = [
  words('lm_head.weight', 'U32', [8, 16], 4),
  words('lm_head.scales', 'BF16', [8, 1], 2),
  words('lm_head.biases', 'BF16', [8, 1], 2),
];
const nvfp4 = [words('lm_head.weight', 'U32', [8, 8], 4), words('lm_head.scales', 'U8', [8, 4], 1)];
const awq = [
  words('lm_head.qweight', 'I32', [64, 1], 4),
  words('lm_head.qzeros', 'I32', [2, 1], 4),
  words('lm_head.scales', 'F16', [2, 8], 2),
];
const blocks = [
  noInfinities(words('lm_head.weight', 'F8_E5M2', [8, 64], 1)),
  scales('lm_head.weight_scale_inv', [2, 2]),
];
const gptq = [
  words('lm_head.qweight', 'I32', [8, 8], 4),
  words('lm_head.qzeros', 'I32', [2, 1], 4),
  words('lm_head.scales', 'F16', [2, 8], 2),
];
const packed = [
  words('lm_head.weight_packed', 'I32', [8, 8], 4),
  words('lm_head.weight_scale', 'BF16', [8, 2], 2),
];
const fp8 = [words('lm_head.weight', 'F8_E4M3', [8, 64], 1), scales('lm_head.weight_scale', [8, 1])];
const int8 = [words('lm_head.weight', 'I8', [8, 64], 1), scales('lm_head.SCB', [8])];
const records: CheckpointTensor[] = ['lm_head.weight', 'model.embed_tokens.weight'].map(name => ({
  ...{ name, storage: 'FloatStorage', shape: [V, D] },
  bytes: bytesOf(weight),
}));
const arrays = [
  ['lm_head.weight.npy', npy('<f4', [V, D], bytesOf(weight))],
  ['lm_head.bias.npy', npy('<f8', [V], bytesOf(new Float64Array(V)))],
] as const;
const quantized = { model_type: 'llama', hidden_size: 64, quantization: { bits: 4, group_size: 32 } };

/** ONNX decoders without a body. */
function onnx(head: (graph: Graph) => string): Buffer {
  const graph = new Graph();
  graph.input('input_ids', 'i64', [1, 'seq']);
  graph.node('Identity', [head(graph)], { outputs: ['logits'] });
  graph.output('logits', 'f32', [1, 'seq', V]);
  return graph.model();
}
const numbers = (count: number, seed: number) => someNumbers(count, seed);
const levelsOf = (count: number) => Uint8Array.from(someNumbers(count, 9), x => (x + 1) * 128);
const onnxTied = onnx(graph => {
  graph.tensor('E', 'f32', [V, D], weight);
  const hidden = graph.node('Mul', [graph.node('Gather', ['E', 'input_ids']), graph.floats([], 2)]);
  const product = graph.node('MatMul', [hidden, graph.node('Transpose', ['E'], { perm: [1, 0] })]);
  const masked = graph.node('Where', [
    graph.tensor('mask', 'bool', [V], Uint8Array.of(0, 1, 0, 0, 0)),
    graph.floats([1], -100),
    graph.node('Add', [product, graph.floats([V], 1, 2, 3, 4, 5)]),
  ]);
  const cap = graph.floats([], 30);
  return graph.node('Mul', [graph.node('Tanh', [graph.node('Div', [masked, cap])]), cap]);
});
const onnxExternal = onnx(graph => {
  graph.tensor('E', 'f32', [V, D], new Uint8Array(), { location: 'd', offset: 0, length: V * D * 4 });
  graph.tensor('W', 'f16', [D, V], new Uint8Array(), { location: 'd', offset: V * D * 4 });
  return graph.node('MatMul', [
    graph.node('Gather', ['E', 'input_ids']),
    graph.node('Cast', ['W'], { to: 1 }),
  ]);
});
const onnxBlocks = onnx(graph => {
  graph.tensor('B', 'u8', [V, 1, 16], levelsOf(V * 16));
  graph.tensor('scales', 'f32', [V], numbers(V, 4));
  graph.tensor('zeros', 'u8', [V], levelsOf(V));
  const attributes = { bits: 4, block_size: 32 };
  const rows = graph.node('Reshape', ['B', graph.ints(V, 16)]);
  const hidden = graph.node('com.microsoft.GatherBlockQuantized', [rows, 'input_ids', 'scales', 'zeros'], {
    ...{ ...attributes, gather_axis: 0, quantize_axis: 1 },
  });
  return graph.node('com.microsoft.MatMulNBits', [hidden, 'B', 'scales', 'zeros'], {
    ...attributes,
    K: 32,
    N: V,
  });
});
const onnxIntegers = onnx(graph => {
  graph.tensor('Wq', 'u8', [V, D], levelsOf(V * D), 'integers');
  graph.tensor('ws', 'f32', [], numbers(1, 2));
  graph.tensor('wzp', 'u8', [], Uint8Array.of(120));
  const hidden = graph.node('DequantizeLinear', [graph.node('Gather', ['Wq', 'input_ids']), 'ws', 'wzp']);
  graph.node('DynamicQuantizeLinear', [hidden], { outputs: ['hq', 'hs', 'hzp'] });
  const product = graph.node('MatMulInteger', ['hq', graph.node('Transpose', ['Wq']), 'hzp', 'wzp']);
  return graph.node('Mul', [graph.node('Cast', [product], { to: 1 }), graph.node('Mul', ['hs', 'ws'])]);
});
const onnxBranches = onnx(graph => {
  graph.tensor('Wq', 'i4', [64, V], levelsOf((64 * V) / 2));
  graph.tensor('ws', 'f32', [2, V], numbers(2 * V, 2));
  const branch = (name: string) => {
    const inner = new Graph();
    inner.tensor(`${name}_h`, 'f32', [1, 1, 64], numbers(64, 3));
    const hidden = inner.node('Identity', [`${name}_h`]);
    const by = inner.node('DequantizeLinear', ['Wq', 'ws'], { axis: 0, block_size: 32 });
    inner.node('MatMul', [hidden, by], { outputs: [name] });
    inner.output(name, 'f32', [1, 1, V]);
    return inner;
  };
  graph.input('use_cache_branch', 'bool', [1]);
  return graph.node('If', ['use_cache_branch'], { then_branch: branch('a'), else_branch: branch('b') });
});

const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const folder = (files: Record<string, Uint8Array>): Material => ({
  path: '/m',
  files: new Map(Object.entries(files).map(([name, bytes]) => [`/m/${name}`, bytes])),
});
const single = (name: string, bytes: Uint8Array): Material => ({
  path: `/m/${name}`,
  files: new Map([[`/m/${name}`, bytes]]),
});

/** The external test material's good files, where it is, if they are small. */
function conformance(sub: string, good: (name: string) => boolean): Material[] {
  const root = conformancePath(sub);
  if (!root) return [];
  return readdirSync(root)
    .filter(good)
    .map(name => single(name, readFileSync(join(root, name))))
    .filter(({ files }) => [...files.values()][0].length < 10_000);
}

/** Those of ONNX models. */
export function onnxMaterial(): Material[] {
  return [
    single('tied.onnx', onnxTied),
    folder({
      'model.onnx': onnxExternal,
      d: Buffer.concat([bytesOf(weight), bytesOf(narrow(weight, 'f16'))]),
    }),
    single('blocks.onnx', onnxBlocks),
    single('integers.onnx', onnxIntegers),
    single('branches.onnx', onnxBranches),
  ];
}

export function goodMaterial(): Material[] {
  const ggufTensor = { name: 'output.weight', type: F32, shape: [V, D], bytes: bytesOf(weight) };
  return [
    single('a.safetensors', safetensors([matrix, bias])),
    single('b.safetensors', safetensors([embedding, norm], { ...saved, format: 'pt' })),
    folder({
      'model.safetensors': safetensors([embedding, matrix, norm]),
      'config.json': json(config),
      'tokenizer.json': json(tokenizer),
    }),
    folder({ 'model.safetensors': safetensors([embedding, norm]), 'config.json': json(parts) }),
    folder({
      'model.safetensors.index.json': json({
        metadata: { total_size: 160 },
        weight_map: { 'lm_head.weight': 'x.safetensors', 'model.embed_tokens.weight': 'y.safetensors' },
      }),
      'x.safetensors': safetensors([matrix]),
      'y.safetensors': safetensors([embedding]),
    }),
    single('a.gguf', gguf([ggufTensor], { 'general.alignment': { u32: 64 } }, { version: 2, alignment: 64 })),
    single(
      'b.gguf',
      gguf(
        [
          { ...ggufTensor, name: 'token_embd.weight', type: BF16, bytes: bytesOf(narrow(weight, 'bf16')) },
          { name: 'output_norm.weight', type: F32, shape: [D], bytes: bytesOf(weight.subarray(0, D)) },
        ],
        {
          'general.architecture': { string: 'gemma2' },
          'gemma2.embedding_length': { u32: D },
          'gemma2.attention.layer_norm_rms_epsilon': { f32: 1e-6 },
          'gemma2.final_logit_softcapping': { f32: 30 },
          'tokenizer.ggml.tokens': { strings: ['a', 'bc', '', '[PAD3]'] },
          'tokenizer.ggml.token_type': { i32s: [1, 1, 3, 5] },
        },
      ),
    ),
    single('q.gguf', gguf([{ ...ggufTensor, type: 8, shape: [V, 32], bytes: someQuantized('q8_0', V, 32) }])),
    single(
      'q.safetensors',
      safetensors([{ ...matrix, dtype: 'U8', shape: [V, 34], bytes: someQuantized('q8_0', V, 32) }], {
        'lmhead.dtype:lm_head.weight': 'q8_0',
      }),
    ),
    ...(['q2_k', 'q3_k', 'iq4_xs', 'mxfp4'] as const).map(dtype => {
      const bytes = someQuantized(dtype, V, 256);
      const quantizedTensor = { ...ggufTensor, type: QUANTIZED_TYPES[dtype], shape: [V, 256], bytes };
      return single(`${dtype}.gguf`, gguf([quantizedTensor]));
    }),
    ...[mlx, gptq, packed, fp8, int8].map(tensors =>
      folder({ 'model.safetensors': safetensors(tensors), 'config.json': json(quantized) }),
    ),
    folder({
      'model.safetensors': safetensors(mlx8),
      'config.json': json({ ...quantized, quantization: { bits: 8, group_size: 64 } }),
    }),
    folder({
      'model.safetensors': safetensors(nvfp4),
      'config.json': json({ ...quantized, quantization: { bits: 4, group_size: 16, mode: 'nvfp4' } }),
    }),
    folder({
      'model.safetensors': safetensors(awq),
      'config.json': json({ model_type: 'llama', quantization_config: { quant_method: 'awq', bits: 4 } }),
    }),
    folder({
      'model.safetensors': safetensors(blocks),
      'config.json': json({ model_type: 'llama', quantization_config: { weight_block_size: [4, 32] } }),
    }),
    single('pytorch_model.bin', checkpoint(records)),
    single('c.pt', checkpoint(records.map(record => ({ ...record, key: '0', parameter: true })))),
    single('old.pth', legacyCheckpoint(records)),
    folder({
      'pytorch_model.bin.index.json': json({
        weight_map: { 'lm_head.weight': 'x.bin', 'model.embed_tokens.weight': 'y.bin' },
      }),
      'x.bin': checkpoint(records.slice(0, 1)),
      'y.bin': legacyCheckpoint(records.slice(1)),
    }),
    ...onnxMaterial(),
    single('a.npz', zip(arrays)),
    single('b.npz', zip(arrays, { deflate: true, zip64: true })),
    single('a.npy', npy('<f4', [V, D], bytesOf(weight))),
    single('b.npy', npy('>f8', [V, D], bytesOf(Float64Array.from(weight)), { fortran: true, major: 3 })),
    single('c.npy', npy('<f2', [V, D], bytesOf(narrow(weight, 'f16')), { major: 2 })),
    ...conformance('safetensors', name => name.endsWith('.safetensors')),
    ...conformance('npy', name => name.startsWith('ok_')),
    ...conformance('gguf/handcrafted', name => name.endsWith('.gguf')),
  ];
}

/** What may be wrong with a changed file, and what may not: anything else would be a fault of the reader. */
const ALLOWED = new Set(
  ['FORMAT', 'TENSOR', 'DTYPE', 'SHAPE', 'RANGE', 'IO'].map(kind => `ERR_LMHEAD_${kind}`),
);

/**
 * Opens changed files, one per seed from `first` on.
 * @returns how many of them were heads
 * @throws for the first seed with which something other than that happened, or than an error that is due
 */
export function openChanged(material: readonly Material[], first: number, count: number): number {
  let heads = 0;
  for (let seed = first; seed < first + count; seed++) {
    const random = new Random(seed);
    const one = changed(random.pick(material), random);
    try {
      if (opens(one)) heads++;
    } catch (error) {
      throw new Error(`seed ${seed}, ${one.path}: ${(error as Error).message}`, { cause: error });
    }
  }
  return heads;
}

/** One of the files changed. */
export function changed({ path, files }: Material, random: Random): Material {
  const [name, bytes] = random.pick([...files]);
  return { path, files: new Map(files).set(name, mutated(bytes, random)) };
}

/**
 * Opens it, with its numbers. Throws where what happens is neither a head nor one of the errors that are due, or where more is
 * read than twice what there is (GGUF's reader begins small), and so more is allocated than that.
 * @returns was it a head?
 */
export function opens({ path, files }: Material): boolean {
  const asked: Asked = { requests: 0, bytes: 0 };
  let size = 0;
  for (const file of files.values()) size += file.length;
  let head = false;
  try {
    const { spec } = fromFiles(files, headPlan(path, {}, true, true), asked);
    const { output, vocabSize, hiddenSize } = spec;
    const held = output.kind === 'memory' ? output.data.byteLength : -1;
    if (held !== matrixBytes(output.dtype, vocabSize, hiddenSize, output.groups))
      throw new Error(`a matrix of ${held} bytes`);
    head = true;
  } catch (error) {
    if (!(error instanceof LMHeadError) || !ALLOWED.has(error.code)) throw error;
    if (error.message.length > 2000) throw new Error(`a message of ${error.message.length} characters`);
  }
  if (asked.requests > 60 || asked.bytes > 3 * size + 1000) {
    throw new Error(`${asked.requests} requests for ${asked.bytes} bytes of ${size}`);
  }
  return head;
}
