/** One text that is generated: its pieces as they come, each with its tokens' log-probabilities. */

/**
 * @typedef {object} Piece
 * @property {string} text may be empty, where a character or a stop text is not whole yet
 * @property {import('../../dist/index.mjs').SampledToken | undefined} token
 * @property {'stop' | 'length' | undefined} finish of the last one
 */

/**
 * @param {Awaited<ReturnType<typeof import('./model.mjs').openModel>>} model
 * @param {import('../../dist/onnx/index.mjs').DecoderState} state after the prompt
 * @param {number[]} before the prompt's last ids, where the text goes on from them
 * @param {object} options of `generate`
 * @param {string[]} stop texts that end it, and are no part of it
 * @returns {AsyncGenerator<Piece>}
 */
export async function* piecesOf(model, state, before, options, stop) {
  const text = new GrowingText(model, before);
  let held = '';
  let count = 0;
  for await (const token of model.decoder.generate(state, { ...options, stopIds: model.stopIds })) {
    count++;
    const isEnd = model.stopIds.includes(token.id);
    if (!isEnd) held += text.add(token.id);
    const at = firstOf(stop, held);
    if (isEnd || at >= 0) {
      yield { text: at >= 0 ? held.slice(0, at) : held + text.rest(), token, finish: 'stop' };
      return;
    }
    if (count === options.maxTokens) {
      yield { text: held + text.rest(), token, finish: 'length' };
      return;
    }
    const keep = beginningOf(stop, held);
    const sent = held.slice(0, held.length - keep);
    held = held.slice(held.length - keep);
    yield { text: sent, token, finish: undefined };
  }
}

/** Where the first of some texts begins in another; −1 where none is. */
function firstOf(texts, within) {
  const places = texts.map(text => within.indexOf(text)).filter(place => place >= 0);
  return places.length === 0 ? -1 : Math.min(...places);
}

/** How many of the last characters may be the beginning of one of the texts. */
function beginningOf(texts, within) {
  let most = 0;
  for (const text of texts) {
    for (let length = Math.min(text.length - 1, within.length); length > most; length--) {
      if (within.endsWith(text.slice(0, length))) most = length;
    }
  }
  return most;
}

/** A text, token by token. What a token adds depends on those before it; of these, the last few are enough. */
class GrowingText {
  #model;
  #ids;
  /** The ids before it were told of, and those from `from` on are what the next ones are decoded with. */
  #told;
  #from = 0;

  constructor(model, before) {
    this.#model = model;
    this.#ids = [...before];
    this.#told = before.length;
  }

  /** @returns what the token adds; nothing where it ends inside a character */
  add(id) {
    this.#ids.push(id);
    const added = this.#added();
    if (added.endsWith('\ufffd')) return '';
    this.#from = this.#told;
    this.#told = this.#ids.length;
    return added;
  }

  /** What was not told of when the text ended. */
  rest() {
    const added = this.#added();
    this.#told = this.#ids.length;
    return added;
  }

  #added() {
    const known = this.#model.decode(this.#ids.slice(this.#from, this.#told));
    return this.#model.decode(this.#ids.slice(this.#from)).slice(known.length);
  }
}
