/** Which of two matrices makes the logits, which embeds, and whether they are one: by config.json and by what is stored. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { someNumbers } from '../support/numbers';
import { floats, safetensors } from '../support/safetensors';
import {
  D,
  embedding,
  hidden,
  llama,
  openWarned,
  output,
  outputOf,
  parts,
  smallModels,
  V,
} from '../support/small-model';

const folder = temporaryFolder();
const model = smallModels(folder);

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
    const { result: head, warnings } = await openWarned(model(config, [...has]));
    expect([outputOf(head), head.tied, warnings.length]).toEqual([expected, tied, warned]);
    for (const warning of warnings)
      expect(warning).toMatch(/^LMHEAD_TIE: according to config\.json .*model\.safetensors/);
  });

  it('gives way to the option tensor', async () => {
    const path = model(tie(true), [...both]);
    const { result: head, warnings } = await openWarned(path, { tensor: 'lm_head.weight' });
    expect([outputOf(head), head.tied, warnings]).toEqual(['lm_head', false, []]);
    const other = await openWarned(path, { tensor: 'model.embed_tokens.weight' });
    expect([outputOf(other.result), other.result.tied, other.warnings]).toEqual(['embedding', true, []]);
  });

  it('holds for an lm_head of the same bytes, without a word', async () => {
    const copy = { ...parts.embedding, name: 'lm_head.weight' };
    const path = folder.file('copy/model.safetensors', safetensors([copy, parts.embedding]));
    folder.file('copy/config.json', JSON.stringify(tie(true)));
    const { result: head, warnings } = await openWarned(path);
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
      const opened = await openWarned(folder.file('large/model.safetensors', safetensors(both)));
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
