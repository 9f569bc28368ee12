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
  words('lm_head.weight', 'F8_E5M2', [8, 64], 1),
  words('lm_head.weight_scale_inv', 'F32', [2, 2], 4),
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
const fp8 = [words('lm_head.weight', 'F8_E4M3', [8, 64], 1), words('lm_head.weight_scale', 'F32', [8, 1], 4)];
const int8 = [words('lm_head.weight', 'I8', [8, 64], 1), words('lm_head.SCB', 'F32', [8], 4)];
const records: CheckpointTensor[] = ['lm_head.weight', 'model.embed_tokens.weight'].map(name => ({
  ...{ name, storage: 'FloatStorage', shape: [V, D] },
  bytes: bytesOf(weight),
}));
const arrays = [
  ['lm_head.weight.npy', npy('<f4', [V, D], bytesOf(weight))],
  ['lm_head.bias.npy', npy('<f8', [V], bytesOf(new Float64Array(V)))],
] as const;
const quantized = { model_type: 'llama', hidden_size: 64, quantization: { bits: 4, group_size: 32 } };

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
