/** What is said where a head lacks something: the cause, and what to do. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import type { ErrorKind } from '../../lib/errors';
import { throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { someNumbers } from '../support/numbers';
import { floats, safetensors } from '../support/safetensors';

const V = 7;
const D = 4;
const folder = temporaryFolder();
const matrix = floats('model.embed_tokens.weight', [V, D], someNumbers(V * D, 1));
const norm = floats('model.norm.weight', [D], someNumbers(D, 2));

let made = 0;
function modelOf(tensors: Parameters<typeof safetensors>[0], config?: object): string {
  const name = `model-${made++}`;
  if (config) folder.file(`${name}/config.json`, JSON.stringify(config));
  folder.file(`${name}/model.safetensors`, safetensors(tensors));
  return folder.path(name);
}

it.each<[string, string, object | undefined, ...string[]]>([
  [
    'nothing that describes the model',
    'all',
    undefined,
    'beside model.safetensors is nothing that describes the model',
  ],
  [
    'a type that is not known',
    'matrix',
    { model_type: 'mystery' },
    'models of type "mystery", according to config.json, are not known',
  ],
  [
    'a type that ends without one',
    'all',
    { model_type: 'bert', vocab_size: V, hidden_size: D },
    'no final norm is known of models of type "bert"',
  ],
  [
    'a norm without its weight',
    'matrix',
    { model_type: 'llama', vocab_size: V, hidden_size: D },
    'model.safetensors has no weight of the norm that config.json speaks of',
  ],
])('norm: true with %s', (_, tensors, config, ...words) => {
  const head = LMHead.openSync(modelOf(tensors === 'all' ? [matrix, norm] : [matrix], config));
  const all = ['norm: got true for a head without one (', ...words, '); want the option norm'];
  const hidden = new Float32Array(D);
  throwsKind(() => head.logitsSync(hidden, { norm: true }), 'RANGE', ...all);
  const other = LMHead.attach(structuredClone(head.handle));
  throwsKind(() => other.logitsSync(hidden, { norm: true }), 'RANGE', ...all);
});

it('and of a head that was saved without one', async () => {
  LMHead.from(someNumbers(V * D, 1), { vocabSize: V, hiddenSize: D }).saveSync(
    folder.path('saved.safetensors'),
  );
  const head = LMHead.openSync(folder.path('saved.safetensors'));
  throwsKind(
    () => head.logitsSync(new Float32Array(D), { norm: true }),
    'RANGE',
    '(saved.safetensors has none)',
  );
  expect(head.vocabSize).toBe(V);
});

it('an adapter without its model', () => {
  const name = (part: string) => `base_model.model.model.layers.0.self_attn.q_proj.lora_${part}.weight`;
  const path = folder.file(
    'adapter_model.safetensors',
    safetensors([
      floats(name('A'), [2, D], someNumbers(2 * D, 3)),
      floats(name('B'), [D, 2], someNumbers(2 * D, 4)),
    ]),
  );
  throwsKind(() => LMHead.openSync(path), 'TENSOR', 'only an adapter (LoRA)', 'merged');
});

describe('the cause, and what to do', () => {
  const lonely = { model_type: 'llama', vocab_size: V, hidden_size: D };
  const bytes = (name: string, dtype: string, shape: number[], count: number) => ({
    name,
    dtype,
    shape,
    bytes: new Uint8Array(count),
  });
  it.each<[string, Parameters<typeof safetensors>[0], object | undefined, ErrorKind, ...string[]]>([
    [
      'a wrong type before a shape that it explains',
      [bytes('lm_head.weight', 'I16', [V, 2 * D], 4 * V * D)],
      lonely,
      'DTYPE',
      'lm_head.weight in model.safetensors is I16; want one of F32, F16, BF16, Q8_0',
    ],
    [
      'words of bits without scales',
      [bytes('lm_head.weight', 'U32', [V, 1], 4 * V)],
      lonely,
      'DTYPE',
      'lm_head.weight in model.safetensors is U32',
    ],
    [
      'a shape that is wrong indeed',
      [floats('lm_head.weight', [V, 2 * D], someNumbers(2 * V * D, 1))],
      lonely,
      'SHAPE',
      'config.json says that the hidden size is 4, but lm_head.weight is [7,8]; want files of one model',
    ],
    [
      'numbers of FP4 (ModelOpt)',
      [
        bytes('lm_head.weight', 'U8', [V, D / 2], (V * D) / 2),
        bytes('lm_head.weight_scale', 'F8_E4M3', [V, 1], V),
      ],
      lonely,
      'TENSOR',
      'lm_head in a form that is not read, NVFP4',
    ],
    [
      'numbers of FP4 (compressed-tensors)',
      [
        bytes('lm_head.weight_packed', 'U8', [V, D / 2], (V * D) / 2),
        bytes('lm_head.weight_scale', 'F8_E4M3', [V, 1], V),
      ],
      lonely,
      'TENSOR',
      'lm_head in a form that is not read, compressed-tensors, NVFP4',
    ],
    [
      'packed integers of nobody knows how many bits',
      [
        bytes('lm_head.weight_packed', 'I32', [V, 1], 4 * V),
        bytes('lm_head.weight_scale', 'F16', [V, 1], 2 * V),
      ],
      undefined,
      'SHAPE',
      'want a config.json or a weight_shape that tells whether they have 4 bits or 8',
    ],
  ])('%s', (_, tensors, config, kind, ...words) => {
    throwsKind(() => LMHead.openSync(modelOf(tensors, config)), kind, ...words);
    try {
      LMHead.openSync(modelOf(tensors, config));
    } catch (error) {
      expect((error as Error).message).not.toContain('I8_ROWS');
    }
  });

  it("TensorFlow.js's shards", () => {
    const words = ['TensorFlow.js', 'want the output matrix on its own'];
    const model = JSON.stringify({ format: 'graph-model', weightsManifest: [{ paths: ['x.bin'] }] });
    throwsKind(() => LMHead.openSync(folder.file('tfjs/model.json', model)), 'FORMAT', ...words);
    const manifest = folder.file('tfjs/weights_manifest.json', '[{"paths": ["x.bin"], "weights": []}]');
    throwsKind(() => LMHead.openSync(manifest), 'FORMAT', ...words);
    folder.file('tfjs/group1-shard1of1.bin', new Uint8Array(99));
    throwsKind(() => LMHead.openSync(folder.path('tfjs')), 'IO', ...words, 'group1-shard1of1.bin');
  });
});

it.each([
  ['the embedding', floats('model.embed_tokens.weight', [8, 64], someNumbers(512, 3))],
  ['the norm', floats('model.norm.weight', [64], someNumbers(64, 3))],
])('packed integers of as many bits as %s makes them', (_, beside) => {
  const packed = (name: string, dtype: string, shape: number[], count: number) => ({
    ...{ name, dtype, shape },
    bytes: new Uint8Array(count),
  });
  const path = modelOf([
    packed('lm_head.weight_packed', 'I32', [8, 8], 256),
    packed('lm_head.weight_scale', 'BF16', [8, 1], 16),
    beside,
  ]);
  const head = LMHead.openSync(path);
  expect([head.vocabSize, head.hiddenSize, head.tied]).toEqual([8, 64, false]);
});
