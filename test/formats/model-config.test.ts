/** The rules by which config.json, tokenizer.json and the tensors of a file make a head together. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import type { ErrorKind } from '../../lib/errors';
import type { OpenOptions } from '../../lib/types';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { expectClose, someNumbers } from '../support/numbers';
import { floats, safetensors } from '../support/safetensors';
import { warningsOf } from '../support/warnings';

const [V, D] = [9, 4];
const output = someNumbers(V * D, 1);
const embedding = someNumbers(V * D, 2);
const norm = someNumbers(D, 3);
const hidden = someNumbers(D, 4);
const folder = temporaryFolder();

const parts = {
  embedding: floats('model.embed_tokens.weight', [V, D], embedding),
  output: floats('lm_head.weight', [V, D], output),
  norm: floats('model.norm.weight', [D], norm),
};
const llama = {
  model_type: 'llama',
  tie_word_embeddings: true,
  vocab_size: V,
  hidden_size: D,
  rms_norm_eps: 1e-5,
};
let count = 0;

function model(
  config: object | string | undefined,
  has: (keyof typeof parts)[],
  tokenizer?: object | string,
): string {
  const name = `model-${count++}`;
  const text = (value: object | string) => (typeof value === 'string' ? value : JSON.stringify(value));
  folder.file(`${name}/model.safetensors`, safetensors(has.map(part => parts[part])));
  if (config) folder.file(`${name}/config.json`, text(config));
  if (tokenizer) folder.file(`${name}/tokenizer.json`, text(tokenizer));
  return folder.path(name);
}
const open = (path: string, options?: OpenOptions) => warningsOf(() => LMHead.open(path, options));
/** Which matrix makes the logits? */
const outputOf = (head: LMHead) => {
  const basis = Float32Array.from({ length: D }, (_, k) => (k === 1 ? 1 : 0));
  const first = head.logitsSync(basis)[0];
  return first === output[1] ? 'lm_head' : first === embedding[1] ? 'embedding' : 'neither';
};

describe('the tie', () => {
  const both = ['embedding', 'output'] as const;
  const tie = (tie_word_embeddings?: boolean, model_type = 'llama') => ({
    ...llama,
    model_type,
    tie_word_embeddings,
  });

  it.each([
    ['said, and the file agrees', tie(true), ['embedding'], 'embedding', true, 0],
    ['said, and the file has another lm_head', tie(true), both, 'lm_head', false, 1],
    ['denied, and the file has both', tie(false), both, 'lm_head', false, 0],
    ['denied, and the file has no lm_head', tie(false), ['embedding'], 'embedding', true, 1],
    ['not mentioned, in a family that is not tied', tie(undefined), both, 'lm_head', false, 0],
    ['not mentioned, in a family that is', tie(undefined, 'gemma'), ['embedding'], 'embedding', true, 0],
    ['of a family, and the file has another lm_head', tie(undefined, 'gemma'), both, 'lm_head', false, 1],
    ['said, but there is only an lm_head', tie(true), ['output'], 'lm_head', true, 0],
    ['without a config', undefined, both, 'lm_head', false, 0],
  ] as const)('%s', async (_, config, has, expected, tied, warned) => {
    const { result: head, warnings } = await open(model(config, [...has]));
    expect([outputOf(head), head.tied, warnings.length]).toEqual([expected, tied, warned]);
    for (const warning of warnings)
      expect(warning).toMatch(/^LMHEAD_TIE: according to config\.json .*model\.safetensors/);
  });

  it('gives way to the option tensor', async () => {
    const path = model(tie(true), [...both]);
    const { result: head, warnings } = await open(path, { tensor: 'lm_head.weight' });
    expect([outputOf(head), head.tied, warnings]).toEqual(['lm_head', false, []]);
    const other = await open(path, { tensor: 'model.embed_tokens.weight' });
    expect([outputOf(other.result), other.result.tied, other.warnings]).toEqual(['embedding', true, []]);
  });

  it('holds for an lm_head of the same bytes, without a word', async () => {
    const copy = { ...parts.embedding, name: 'lm_head.weight' };
    const path = folder.file('copy/model.safetensors', safetensors([copy, parts.embedding]));
    folder.file('copy/config.json', JSON.stringify(tie(true)));
    const { result: head, warnings } = await open(path);
    expect([outputOf(head), head.tied, head.parameterCount, warnings]).toEqual([
      'embedding',
      true,
      V * D,
      [],
    ]);

    // One number in the last of several pieces.
    const rows = 50_000;
    const large = someNumbers(rows * 32, 5);
    const changed = large.slice();
    changed[changed.length - 1] += 1;
    for (const [numbers, tied] of [
      [large, true],
      [changed, false],
    ] as const) {
      const shape = [rows, 32];
      const both = [
        floats('lm_head.weight', shape, numbers),
        floats('model.embed_tokens.weight', shape, large),
      ];
      folder.file('large/config.json', JSON.stringify({ model_type: 'llama', tie_word_embeddings: true }));
      const opened = await open(folder.file('large/model.safetensors', safetensors(both)));
      expect([opened.result.tied, opened.warnings.length]).toEqual([tied, tied ? 0 : 1]);
      opened.result.close();
    }
  });
});

describe('an output without an embedding', () => {
  const denied = { ...llama, tie_word_embeddings: false };

  it.each([
    ['that the config unties', denied],
    ['of no config', undefined],
  ])('%s has no rows to embed with, nor does its copy or its handle', async (_, config) => {
    const head = await LMHead.open(model(config, ['output']));
    const saved = folder.path('untied.safetensors');
    head.saveSync(saved);
    for (const each of [head, LMHead.attach(head.handle), LMHead.openSync(saved)]) {
      expect([outputOf(each), each.tied]).toEqual(['lm_head', false]);
      throwsKind(() => each.embed([1]), 'TENSOR', 'inputEmbedding', 'not tied');
    }
  });

  it.each(backends)('takes the one of another part, or of more rows or fewer: %s', async backend => {
    for (const [name, outputs, inputs] of [
      ['model.text_model.embed_tokens.weight', V, V],
      ['language_model.model.embed_tokens.weight', V - 2, V], // Llama 3.2 Vision
      ['odd.embed_tokens.weight', V, V - 2],
    ] as const) {
      const path = folder.file(
        `rows-${inputs}.safetensors`,
        safetensors([
          floats(
            name.startsWith('odd') ? 'odd.lm_head.weight' : 'lm_head.weight',
            [outputs, D],
            output.slice(0, outputs * D),
          ),
          floats(name, [inputs, D], embedding.slice(0, inputs * D)),
        ]),
      );
      const head = await LMHead.open(path, { backend });
      const saved = folder.path('rows-saved.safetensors');
      await head.save(saved);
      const { head: quantized } = await head.quantize('i8');
      for (const each of [head, LMHead.attach(head.handle), LMHead.openSync(saved, { backend }), quantized]) {
        expect([each.tied, each.vocabSize, each.inputVocabSize]).toEqual([false, outputs, inputs]);
        expect(each.parameterCount).toBe((outputs + inputs) * D);
        expect([...each.embed([inputs - 1])]).toEqual([...embedding.slice((inputs - 1) * D, inputs * D)]);
        throwsKind(() => each.embed([inputs]), 'RANGE', 'ids[0]', `below ${inputs}`);
        expect(each.logitsSync(hidden)).toHaveLength(outputs);
        each.close();
      }
    }
  });

  it('says why it does not know it', async () => {
    const shape = [V, D];
    for (const [tensor, ...words] of [
      [{ name: 'model.embed_tokens.weight', dtype: 'I32', shape, bytes: new Uint8Array(4 * V * D) }, 'I32'],
      [{ name: 'model.embed_tokens.qweight', dtype: 'I32', shape, bytes: new Uint8Array(4 * V * D) }, 'GPTQ'],
      [floats('model.embed_tokens.weight', [V, 2 * D], new Float32Array(2 * V * D)), `[${V},${2 * D}]`],
    ] as const) {
      const head = await LMHead.open(folder.file('why.safetensors', safetensors([parts.output, tensor])));
      for (const each of [head, LMHead.attach(head.handle)]) {
        expect([outputOf(each), each.tied]).toEqual(['lm_head', false]);
        throwsKind(() => each.embed([1]), 'TENSOR', 'inputEmbedding', 'model.embed_tokens', ...words);
      }
    }
  });
});

describe("what MLX's converter has written into the weights", () => {
  const families: [string, object][] = [
    ['qwen3_next', { offset: 0 }],
    ['qwen3_5', { offset: 0 }],
    ['falcon_h1', {}],
  ];
  it.each(families)('is not done again: %s', async (model_type, more) => {
    const config = { ...llama, model_type, lm_head_multiplier: 0.5, embedding_multiplier: 4 };
    const path = model({ ...config, tie_word_embeddings: false }, ['embedding']);
    const all = safetensors(Object.values(parts), { format: 'mlx' });
    folder.file(`${path.slice(folder.path('').length)}/model.safetensors`, all);
    const head = await LMHead.open(path);
    const plain = LMHead.openSync(folder.file('plain.safetensors', all), {
      norm: { type: 'rmsnorm', weight: norm, eps: 1e-5, ...more },
    });
    expect([...head.logitsSync(hidden, { norm: true })]).toEqual([
      ...plain.logitsSync(hidden, { norm: true }),
    ]);
    expect([...head.embed([3])]).toEqual([...embedding.slice(3 * D, 4 * D)]);
  });
});

describe('the vocabulary', () => {
  const added = (...ids: number[]) => ids.map(id => ({ id, content: `<${id}>`, special: true }));
  const bpe = (size: number, ...ids: number[]) => ({
    version: '1.0',
    added_tokens: added(...ids),
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(Array.from({ length: size }, (_, i) => [`t${i}`, i])),
      merges: [['a', 'b']],
    },
  });
  const unigram = {
    model: { type: 'Unigram', unk_id: 0, vocab: Array.from({ length: 6 }, (_, i) => [`t${i}`, -i]) },
  };
  const valid = (head: LMHead) => head.logitsSync(hidden).indexOf(-Infinity);

  it.each([
    ['ends with the tokenizer', llama, bpe(5, 5, 6), 7],
    ['of a Unigram tokenizer', llama, unigram, 6],
    ['ends with the config', { ...llama, vocab_size: 8 }, undefined, 8],
    ['ends with the smaller of the two', { ...llama, vocab_size: 6 }, bpe(5, 7), 6],
    ['is whole where neither says less', llama, bpe(9), -1],
    ['is no larger than the matrix, whatever the tokenizer knows', llama, bpe(9, 30), -1],
    ['is whole where the tokenizer is empty', llama, {}, -1],
    ['is not bound by the tokenizer of an unknown model', { ...llama, model_type: 'mystery' }, bpe(5), -1],
    ['is not bound by a tokenizer without timestamps', { ...llama, model_type: 'whisper' }, bpe(5, 6), -1],
    ['whose word is __proto__', llama, '{"model":{"vocab":{"__proto__":3,"constructor":4}}}', 5],
  ] as const)('%s', async (_, config, tokenizer, expected) => {
    const { result: head } = await open(model(config, ['embedding'], tokenizer));
    expect(valid(head)).toBe(expected);
    expect(head.vocabSize).toBe(V);
  });

  it.each([
    ['added_tokens.json', { '<a>': 6, '<b>': 7 }],
    ['tokenizer_config.json', { chat_template: '{', added_tokens_decoder: { 6: {}, 7: { content: '<b>' } } }],
  ])('ends with tokens that were added in %s', async (name, added) => {
    const path = model(llama, ['embedding'], bpe(5, 5));
    folder.file(`${path.slice(folder.path('').length)}/${name}`, JSON.stringify(added));
    expect(valid((await open(path)).result)).toBe(8);
  });

  it('is what the option says, whatever the files are', async () => {
    const path = model({ ...llama, vocab_size: 100 }, ['embedding'], 'this is no JSON');
    expect(valid((await open(path, { validVocabSize: 3 })).result)).toBe(3);
  });

  it.each([
    [
      'the config has more',
      { ...llama, vocab_size: V + 1 },
      undefined,
      'SHAPE',
      'vocabulary size',
      'validVocabSize',
    ],
    ['the tokenizer is no JSON', llama, '{', 'FORMAT', 'tokenizer.json'],
    ['an id is no number', llama, '{"model":{"vocab":{"a":"b"}}}', 'FORMAT', 'tokenizer.json', 'integer'],
    ['an id is below 0', llama, '{"added_tokens":[{"id":-1}]}', 'FORMAT', 'tokenizer.json'],
  ] as [string, object, string | undefined, ErrorKind, ...string[]][])('is refused where %s', (...row) => {
    const [, config, tokenizer, kind, ...words] = row;
    throwsKind(() => LMHead.openSync(model(config, ['embedding'], tokenizer)), kind, ...words);
  });
});

describe('config.json', () => {
  it.each([
    ['no JSON', '{'],
    ['a key twice', '{"model_type":"llama","model_type":"gpt2"}', 'twice'],
    ['a wrong tie', { ...llama, tie_word_embeddings: 'yes' }, 'tie_word_embeddings'],
    ['a wrong vocabulary', { ...llama, vocab_size: '9' }, 'vocab_size'],
    ['a fractional vocabulary', { ...llama, vocab_size: 8.5 }, 'vocab_size'],
    ['a wrong eps', { ...llama, rms_norm_eps: 'small' }, 'rms_norm_eps'],
    ['a negative eps', { ...llama, rms_norm_eps: -1 }, 'rms_norm_eps'],
    ['a wrong cap', { ...llama, final_logit_softcapping: -30 }, 'final_logit_softcapping'],
    ['a division by 0', { ...llama, model_type: 'granite', logits_scaling: 0 }, 'scales'],
    ['deep nesting', `{"a":${'['.repeat(100_000)}`, 'nesting'],
  ] as [string, object | string, ...string[]][])('with %s is refused', (_, config, ...words) => {
    throwsKind(() => LMHead.openSync(model(config, ['embedding'])), 'FORMAT', 'config.json', ...words);
  });

  it.each<[string, object]>([
    ['without its size', { model_type: 'gemma' }],
    ['without any type but that of its class', { architectures: ['GemmaForCausalLM'], hidden_size: D }],
    ['of a type that only its class makes known', { model_type: 'house', architectures: ['GemmaModel'] }],
    ['whose type is written otherwise', { model_type: 'Gemma' }],
    ['of several parts, of which only that about text has a type', { text_config: { model_type: 'gemma' } }],
    ['of several parts, of which only the whole has a type', { model_type: 'gemma3', text_config: {} }],
    ...['language_model_config', 'lm_config', 'text_model_config', 'language_model', 'llm'].map(
      (key): [string, object] => [
        `with its text under ${key}`,
        {
          model_type: 'house_vl',
          audio_config: { model_type: 'whisper' },
          vision_config: { model_type: 'bert' },
          [key]: { model_type: 'gemma', hidden_size: D },
        },
      ],
    ),
  ])('%s is as good', async (_, config) => {
    const { result: head, warnings } = await open(model(config, ['embedding', 'norm']));
    expect(warnings).toEqual([]);
    expectClose(
      head.embed([3]),
      embedding.slice(3 * D, 4 * D).map(x => x * Math.sqrt(D)),
      { relative: 1e-6 },
    );
    const plain = LMHead.from(embedding, {
      ...{ vocabSize: V, hiddenSize: D },
      norm: { type: 'rmsnorm', weight: norm, eps: 1e-6, offset: 1 },
    });
    expect(head.logitsSync(hidden, { norm: true })).toEqual(plain.logitsSync(hidden, { norm: true }));
  });

  it('of another model is refused', () => {
    throwsKind(
      () => LMHead.openSync(model({ ...llama, hidden_size: D + 1 }, ['embedding'])),
      'SHAPE',
      'config.json',
      'hidden size is 5',
      'one model',
    );
  });

  describe('of an unknown family', () => {
    const mystery = { ...llama, model_type: 'mystery', logit_scale: 3, tie_word_embeddings: false };
    const all = ['embedding', 'output', 'norm'] as const;
    const normBias = floats('model.norm.bias', [D], embedding.slice(0, D));
    const unknown = async (config: object, tensors = all.map(part => parts[part])) => {
      folder.file('mystery/config.json', JSON.stringify(config));
      const { result: head, warnings } = await open(
        folder.file('mystery/model.safetensors', safetensors(tensors)),
      );
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toMatch(/^LMHEAD_FAMILY: config\.json: .*"mystery"/);
      return { head, warning: warnings[0] };
    };

    it('sets no scale, and takes the norm beside the head by its eps, and says so', async () => {
      const { head, warning } = await unknown({ ...mystery, final_logit_softcapping: 2 });
      for (const word of ['model.norm.weight', 'RMSNorm', 'rms_norm_eps', '0.00001', 'nothing is added'])
        expect(warning).toContain(word);
      expect([outputOf(head), head.tied]).toEqual(['neither', false]); // capped
      const like = LMHead.openSync(model({ ...llama, tie_word_embeddings: false }, [...all]), { softCap: 2 });
      expect(head.logitsSync(hidden, { norm: true })).toEqual(like.logitsSync(hidden, { norm: true }));
    });

    it('takes a LayerNorm where its bias is there too', async () => {
      const { rms_norm_eps: _, ...config } = mystery;
      const tensors = [...all.map(part => parts[part]), normBias];
      const { head, warning } = await unknown({ ...config, layer_norm_epsilon: 1e-5 }, tensors);
      expect(warning).toContain('LayerNorm');
      const like = LMHead.openSync(model(undefined, [...all]), {
        norm: { type: 'layernorm', weight: norm, bias: embedding.slice(0, D), eps: 1e-5 },
      });
      expect(head.logitsSync(hidden, { norm: true })).toEqual(like.logitsSync(hidden, { norm: true }));
    });

    it.each([
      ['without an eps', { rms_norm_eps: null }, parts.norm],
      ['of either kind', { rms_norm_eps: undefined, norm_eps: 1e-5 }, parts.norm],
      ['under another name', {}, { ...parts.norm, name: 'model.embedding_norm.weight' }],
      ['elsewhere', {}, { ...parts.norm, name: 'model.vision.norm.weight' }],
    ])('takes no norm %s', async (_, more, tensor) => {
      const { head, warning } = await unknown({ ...mystery, ...more }, [
        parts.embedding,
        parts.output,
        tensor,
      ]);
      expect(warning).toContain('no final norm');
      throwsKind(() => head.logitsSync(hidden, { norm: true }), 'RANGE', 'norm');
    });
  });

  it.each(['[]', '{}', '{"model_type":3}', '"x"'])('that is not a model’s: %s', async config => {
    const { result: head, warnings } = await open(model(config, ['embedding', 'output', 'norm']));
    expect([outputOf(head), warnings]).toEqual(['lm_head', []]);
  });

  it('is read beside a file too', async () => {
    const path = model({ ...llama, vocab_size: 5 }, ['embedding']);
    const { result: head } = await open(`${path}/model.safetensors`);
    expect(head.logitsSync(hidden)[5]).toBe(-Infinity);
  });

  it('stands below every option', async () => {
    const config = { ...llama, model_type: 'gemma2', final_logit_softcapping: 1, vocab_size: 5 };
    const { result: head } = await open(model(config, ['embedding', 'norm']), {
      softCap: 1000,
      capOrder: 'cap-then-scale',
      logitScale: 2,
      embeddingScale: 3,
      validVocabSize: 8,
      bias: new Float32Array(V).fill(0.5),
      norm: { type: 'layernorm', weight: new Float32Array(D), bias: hidden, eps: 1 },
    });
    const expected = Array.from({ length: V }, (_, id) => {
      if (id >= 8) return -Infinity;
      const dot = hidden.reduce((sum, h, k) => sum + h * embedding[id * D + k], 0);
      return 2 * 1000 * Math.tanh((dot + 0.5) / 1000);
    });
    const near = { absolute: 3e-6 };
    expectClose(head.logitsSync(someNumbers(D, 9), { norm: true }), expected, near);
    expectClose(
      head.embed([2]),
      embedding.subarray(2 * D, 3 * D).map(x => 3 * x),
      near,
    );
  });

  it('an option of undefined is none', async () => {
    const config = { ...llama, model_type: 'granite', logits_scaling: 4 };
    const { result: head } = await open(model(config, ['embedding']), { logitScale: undefined });
    const dot = hidden.reduce((sum, h, k) => sum + h * embedding[k], 0);
    expectClose([head.logitsSync(hidden)[0]], [dot / 4], { absolute: 1e-6 });
  });
});
