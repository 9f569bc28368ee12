/** The small model's tokens as a tokenizer.json, which other programs read. */

const SPACE = '▁';
/** Pieces that no space is before, as they are written. */
const CLOSING = /^[.,!?”]$/;

/**
 * @param {string[]} words by id; the first one is special
 * @param {string[]} [characters] further tokens, which no space is before
 * @returns {string} of a unigram model, in which a word is likelier than its letters
 */
export function tokenizerJson(words, characters = []) {
  const [special, ...rest] = words;
  const pieces = [
    [special, 0],
    ...rest.map(word => [CLOSING.test(word) ? word : SPACE + word, -1]),
    ...characters.map(character => [character, -10]),
  ];
  const metaspace = { type: 'Metaspace', replacement: SPACE, prepend_scheme: 'first', split: false };
  return JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      {
        id: 0,
        content: special,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      },
    ],
    normalizer: null,
    pre_tokenizer: metaspace,
    // Every text begins with it.
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: special, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { [special]: { id: special, ids: [0], tokens: [special] } },
    },
    decoder: metaspace,
    model: { type: 'Unigram', unk_id: 0, vocab: pieces, byte_fallback: false },
  });
}
