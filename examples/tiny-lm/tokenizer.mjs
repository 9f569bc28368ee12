/** Words and punctuation as tokens. One special token ends a story, and so stands before the next one's first word. */

const PIECE = /\p{L}+|[^\s\p{L}]/gu;

/** The id of the token between two stories. */
export const END = 0;
const END_TEXT = '<end>';

export class Tokenizer {
  #ids;

  /** @param {string[]} vocabulary the text of each id, as `Tokenizer.from` made it */
  constructor(vocabulary) {
    this.vocabulary = vocabulary;
    this.#ids = new Map(vocabulary.map((text, id) => [text, id]));
  }

  /** @param {string[]} texts whose words make the vocabulary, in alphabetical order */
  static from(texts) {
    const words = new Set(texts.flatMap(text => text.match(PIECE) ?? []));
    return new Tokenizer([END_TEXT, ...[...words].sort()]);
  }

  /**
   * @param {string} text
   * @returns {Uint32Array} the ids of its words
   */
  encode(text) {
    return Uint32Array.from(text.match(PIECE) ?? [], word => {
      const id = this.#ids.get(word);
      if (id === undefined) throw new Error(`the model does not know the word “${word}”`);
      return id;
    });
  }

  /**
   * A whole story, with END at both ends: what stands at i + 1 is what should follow i.
   * @param {string} text
   */
  encodeStory(text) {
    return Uint32Array.of(END, ...this.encode(text), END);
  }

  /** @param {ArrayLike<number>} ids */
  decode(ids) {
    const text = Array.from(ids, id => (id === END ? '' : this.vocabulary[id])).join(' ');
    return text
      .replace(/ ([.,!?”])/g, '$1')
      .replace(/“ /g, '“')
      .trim();
  }
}
