import { rmSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { backends } from '../support/backends';
import { bytesOf } from '../support/bytes';
import { throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { someNumbers } from '../support/numbers';
import { checkpoint } from '../support/pickle';
import { floats, safetensors } from '../support/safetensors';

const [V, D] = [7, 4];
const output = someNumbers(V * D, 1);
const embedding = someNumbers(V * D, 2);
const folder = temporaryFolder();

const index = (map: unknown) => JSON.stringify({ metadata: { total_size: 1 }, weight_map: map });
const first = safetensors([
  floats('model.embed_tokens.weight', [V, D], embedding),
  floats('lm_head.weight', [V, D], new Float32Array(V * D)), // in which the index does not believe
]);
const last = safetensors([
  floats('other', [2], new Float32Array(2)),
  floats('lm_head.weight', [V, D], output),
]);
const map = {
  'model.embed_tokens.weight': 'model-00001-of-00003.safetensors',
  'model.layers.0.weight': 'model-00002-of-00003.safetensors',
  'lm_head.weight': 'model-00003-of-00003.safetensors',
};

function written(name: string, text: string): string {
  folder.file(`${name}/model-00001-of-00003.safetensors`, first);
  folder.file(`${name}/model-00003-of-00003.safetensors`, last);
  return folder.file(`${name}/model.safetensors.index.json`, text);
}

describe.each(backends)('a sharded model, %s', backend => {
  it('opens by its index or its folder, without the shards that have no part of the head', async () => {
    const path = written('good', index(map));
    for (const from of [path, folder.path('good')]) {
      const head = await LMHead.open(from, { backend });
      expect([head.vocabSize, head.hiddenSize, head.tied]).toEqual([V, D, false]);
      expect(head.embed([5])).toEqual(embedding.subarray(5 * D, 6 * D));
      const basis = new Float32Array(D);
      basis[2] = 1;
      expect(head.logitsSync(basis)).toEqual(output.filter((_, i) => i % D === 2));
    }
  });

  it('can be asked for a tensor of any name', () => {
    const path = written(
      'named',
      index({
        ...map,
        odd: 'odd.safetensors',
        'odd.weight': 'odd.safetensors',
        'odd.bias': 'odd.safetensors',
      }),
    );
    folder.file(
      'named/odd.safetensors',
      safetensors([
        floats('odd.weight', [V, D], output),
        floats(
          'odd.bias',
          [V],
          Float32Array.from({ length: V }, () => 7),
        ),
        floats('odd', [1], new Float32Array(1)),
      ]),
    );
    const head = LMHead.openSync(path, { backend, tensor: 'odd.weight' });
    expect(head.logitsSync(new Float32Array(D))).toEqual(new Float32Array(V).fill(7));
  });
});

describe('a shard that is opened by its own name', () => {
  const config = { model_type: 'llama', vocab_size: V, hidden_size: D, rms_norm_eps: 1e-5 };
  const shards = { 1: 'model-00001-of-00003.safetensors', 3: 'model-00003-of-00003.safetensors' };
  const basis = Float32Array.of(0, 0, 1, 0);
  const opened = (name: string, no: 1 | 3, tie: boolean) => {
    folder.file(`${name}/config.json`, JSON.stringify({ ...config, tie_word_embeddings: tie }));
    return LMHead.openSync(folder.path(`${name}/${shards[no]}`));
  };

  it.each([1, 3] as const)('is a part of the model of the index beside it: %i', no => {
    written('by-name', index(map));
    const head = opened('by-name', no, false);
    expect(head.tied).toBe(false);
    expect(head.logitsSync(basis)).toEqual(output.filter((_, i) => i % D === 2));
    expect(head.embed([5])).toEqual(embedding.subarray(5 * D, 6 * D));
  });

  it('has the index of its own name', () => {
    folder.file('own/part-00002-of-00002.safetensors', last);
    folder.file('own/part-00001-of-00002.safetensors', first);
    const own = {
      'model.embed_tokens.weight': 'part-00001-of-00002.safetensors',
      'lm_head.weight': 'part-00002-of-00002.safetensors',
    };
    folder.file('own/part.safetensors.index.json', index(own));
    const head = LMHead.openSync(folder.path('own/part-00001-of-00002.safetensors'));
    expect(head.logitsSync(basis)).toEqual(output.filter((_, i) => i % D === 2));
  });

  it('needs no other for what it has itself; and embed throws, without the embedding', () => {
    written('alone', index(map));
    rmSync(folder.path(`alone/${shards[1]}`));
    const head = opened('alone', 3, false);
    expect(head.logitsSync(basis)).toEqual(output.filter((_, i) => i % D === 2));
    throwsKind(() => head.embed([5]), 'TENSOR', 'inputEmbedding');
  });

  it('does not stand in for an output that is elsewhere', () => {
    written('elsewhere', index(map));
    rmSync(folder.path(`elsewhere/${shards[3]}`));
    throwsKind(() => opened('elsewhere', 1, false), 'IO', shards[3]);
    const { 'lm_head.weight': _, ...without } = map;
    written('unread', index({ ...without, 'lm_head.qweight': shards[3] }));
    folder.file(
      `unread/${shards[3]}`,
      safetensors([{ name: 'lm_head.qweight', dtype: 'I32', shape: [1, V], bytes: new Uint8Array(4 * V) }]),
    );
    throwsKind(() => opened('unread', 1, false), 'TENSOR', 'lm_head.qweight', 'GPTQ');
  });
});

describe('shards without an index', () => {
  const config = JSON.stringify({ model_type: 'llama', vocab_size: V, hidden_size: D, rms_norm_eps: 1e-5 });
  const basis = Float32Array.of(0, 0, 1, 0);
  const embeds = safetensors([floats('model.embed_tokens.weight', [V, D], embedding)]);
  const file = (no: number, base = 'model') => `${base}-0000${no}-of-00002.safetensors`;
  const good = (path: string) => {
    const head = LMHead.openSync(path);
    expect(head.logitsSync(basis)).toEqual(output.filter((_, i) => i % D === 2));
    expect([head.tied, head.embed([5])]).toEqual([false, embedding.subarray(5 * D, 6 * D)]);
  };

  it.each([false, true])('are one model by their names, with a config: %s', described => {
    const name = `siblings-${described}`;
    if (described) folder.file(`${name}/config.json`, config);
    folder.file(`${name}/${file(1)}`, embeds);
    folder.file(`${name}/${file(2)}`, last);
    for (const path of [name, `${name}/${file(1)}`, `${name}/${file(2)}`]) good(folder.path(path));
  });

  it('of which some are missing do for what they have; nothing stands in for an output that they may have', () => {
    folder.file(`first/${file(1)}`, embeds);
    folder.file(`last/${file(2)}`, last);
    const words = [`want ${file(2)} beside it`, 'one of 2 files', 'no output matrix'];
    throwsKind(() => LMHead.openSync(folder.path(`first/${file(1)}`)), 'IO', ...words);
    expect(LMHead.openSync(folder.path(`last/${file(2)}`)).tied).toBe(false);
    folder.file('first/config.json', config.replace('{', '{"tie_word_embeddings":true,'));
    expect(LMHead.openSync(folder.path(`first/${file(1)}`)).tied).toBe(true);
  });

  it('of different models are refused', () => {
    folder.file(`two/${file(1)}`, first);
    folder.file(`two/${file(2)}`, last);
    throwsKind(() => LMHead.openSync(folder.path('two')), 'FORMAT', 'lm_head.weight', 'another part');
  });

  it.each([
    ['model.safetensors.index.fp16.json', 'model.fp16'],
    ['model.fp16.safetensors.index.json', 'model.fp16'],
    ['consolidated.safetensors.index.json', 'consolidated'],
  ])('of a variant have its index: %s', (name, base) => {
    const where = `variant-${name}`;
    folder.file(`${where}/${file(1, base)}`, first);
    folder.file(`${where}/${file(2, base)}`, last);
    const own = { 'model.embed_tokens.weight': file(1, base), 'lm_head.weight': file(2, base) };
    folder.file(`${where}/${name}`, index(own));
    for (const path of [where, `${where}/${name}`, `${where}/${file(1, base)}`]) good(folder.path(path));
  });

  it('that are heads of their own stay such', async () => {
    const head = LMHead.from(output, { vocabSize: V, hiddenSize: D });
    for (const no of [1, 2]) head.saveSync(folder.path(file(no, 'saved')));
    expect(LMHead.openSync(folder.path(file(1, 'saved'))).tied).toBe(true);
  });

  it('that are slices of one model for several devices are refused', () => {
    const slices = ['consolidated.00.pth', 'consolidated.01.pth'];
    const storage = { storage: 'FloatStorage', shape: [V, D], bytes: bytesOf(output) };
    for (const name of slices)
      folder.file(`meta/${name}`, checkpoint([{ name: 'output.weight', ...storage }]));
    throwsKind(() => LMHead.openSync(folder.path('meta')), 'IO', '2 .pth files');
    throwsKind(() => LMHead.openSync(folder.path(`meta/${slices[0]}`)), 'FORMAT', 'a part of every matrix');
    rmSync(folder.path(`meta/${slices[1]}`));
    expect(LMHead.openSync(folder.path('meta')).vocabSize).toBe(V);
  });
});

describe('a sharded model is refused', () => {
  it.each([
    ['../model.safetensors'],
    ['/etc/passwd'],
    ['a/b.safetensors'],
    ['a\\b.safetensors'],
    ['..'],
    ['.'],
    [''],
    ['C:x'],
    ['a\0b'],
  ])('with %j as the name of a shard', shard => {
    const path = written('names', index({ ...map, 'lm_head.weight': shard }));
    throwsKind(() => LMHead.openSync(path), 'FORMAT', 'index.json', 'bare file name', 'lm_head.weight');
  });

  it.each([
    ['no object', '[]'],
    ['no JSON', 'x'],
    ['no weight_map', '{"metadata":{}}', 'weight_map'],
    ['a name of a wrong type', '{"weight_map":{"lm_head.weight":3}}'],
    ['a tensor twice', '{"weight_map":{"a":"b","a":"c"}}', 'twice'],
    ['the map twice', '{"weight_map":{},"weight_map":{}}', 'twice'],
    ['deep nesting', `{"metadata":${'['.repeat(100_000)}`, 'nesting'],
  ])('%s', (_, text, ...words) => {
    throwsKind(() => LMHead.openSync(written('malformed', text)), 'FORMAT', 'index.json', ...words);
  });

  it('that names what is not there', () => {
    const path = written('empty', index({ __proto__: 'x', 'model.layers.0.weight': 'y' }));
    throwsKind(
      () => LMHead.openSync(path),
      'TENSOR',
      "index.json has no tensor with an output matrix's name",
      'want the option tensor with the name of one: model.layers.0.weight',
    );
    const missing = written('missing', index(map));
    rmSync(folder.path('missing/model-00003-of-00003.safetensors'));
    throwsKind(() => LMHead.openSync(missing), 'IO', 'model-00003-of-00003.safetensors', 'no such file');
    const wrong = written(
      'wrong',
      index({
        'lm_head.weight': 'model-00001-of-00003.safetensors',
        'model.norm.weight': 'model-00001-of-00003.safetensors',
      }),
    );
    throwsKind(() => LMHead.openSync(wrong), 'FORMAT', 'model.norm.weight', 'one model');
    const pointer = written('pointer', index(map));
    folder.file(
      'pointer/model-00003-of-00003.safetensors',
      'version https://git-lfs.github.com/spec/v1\noid sha256:0\n',
    );
    throwsKind(() => LMHead.openSync(pointer), 'FORMAT', 'model-00003-of-00003.safetensors', 'git lfs pull');
  });
});
