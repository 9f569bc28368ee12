/** How many ids are valid, by config.json, the tokenizer and the option. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import type { ErrorKind } from '../../lib/errors';
import { throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { hidden, llama, openWarned, smallModels, V } from '../support/small-model';

const folder = temporaryFolder();
const model = smallModels(folder);

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
    const { result: head } = await openWarned(model(config, ['embedding'], tokenizer));
    expect(valid(head)).toBe(expected);
    expect(head.vocabSize).toBe(V);
  });

  it.each([
    ['added_tokens.json', { '<a>': 6, '<b>': 7 }],
    ['tokenizer_config.json', { chat_template: '{', added_tokens_decoder: { 6: {}, 7: { content: '<b>' } } }],
  ])('ends with tokens that were added in %s', async (name, added) => {
    const path = model(llama, ['embedding'], bpe(5, 5));
    folder.file(`${path.slice(folder.path('').length)}/${name}`, JSON.stringify(added));
    expect(valid((await openWarned(path)).result)).toBe(8);
  });

  it('is what the option says, whatever the files are', async () => {
    const path = model({ ...llama, vocab_size: 100 }, ['embedding'], 'this is no JSON');
    expect(valid((await openWarned(path, { validVocabSize: 3 })).result)).toBe(3);
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
