/** How config.json and the tensors of a file make a head together. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { expectClose, someNumbers } from '../support/numbers';
import { floats, safetensors } from '../support/safetensors';
import {
  D,
  embedding,
  hidden,
  llama,
  norm,
  openWarned,
  outputOf,
  parts,
  smallModels,
  V,
} from '../support/small-model';

const folder = temporaryFolder();
const model = smallModels(folder);

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
    const { result: head, warnings } = await openWarned(model(config, ['embedding', 'norm']));
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
      const { result: head, warnings } = await openWarned(
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
    const { result: head, warnings } = await openWarned(model(config, ['embedding', 'output', 'norm']));
    expect([outputOf(head), warnings]).toEqual(['lm_head', []]);
  });

  it('is read beside a file too', async () => {
    const path = model({ ...llama, vocab_size: 5 }, ['embedding']);
    const { result: head } = await openWarned(`${path}/model.safetensors`);
    expect(head.logitsSync(hidden)[5]).toBe(-Infinity);
  });

  it('stands below every option', async () => {
    const config = { ...llama, model_type: 'gemma2', final_logit_softcapping: 1, vocab_size: 5 };
    const { result: head } = await openWarned(model(config, ['embedding', 'norm']), {
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
    const { result: head } = await openWarned(model(config, ['embedding']), { logitScale: undefined });
    const dot = hidden.reduce((sum, h, k) => sum + h * embedding[k], 0);
    expectClose([head.logitsSync(hidden)[0]], [dot / 4], { absolute: 1e-6 });
  });
});
