/** Answers as OpenAI's API has them. Log-probabilities are the model's own: at temperature 1, before filters and penalties. */

class Shape {
  constructor(model, parameters, id) {
    this.model = model;
    this.parameters = parameters;
    this.head = { id, created: Math.floor(Date.now() / 1000), model: model.name };
    /** By index: text, entries of log-probabilities, how it ended. */
    this.texts = [];
  }

  add(index, { text, token, finish }) {
    this.texts[index] ??= { text: '', tokens: [], finish: null };
    const own = this.texts[index];
    own.text += text;
    if (token && this.parameters.top !== undefined) own.tokens.push(token);
    own.finish = finish ?? null;
  }

  textOf(id) {
    return this.model.bytesOf(id).toString();
  }

  whole(usage) {
    const choices = this.texts.map((own, index) => this.wholeChoice(own, index));
    return { ...this.head, object: this.object, choices, usage: usageOf(usage) };
  }

  chunk(index, piece) {
    const { includeUsage } = this.parameters;
    const choices = [this.chunkChoice(index, piece)];
    return { ...this.head, object: this.chunkObject, choices, ...(includeUsage ? { usage: null } : {}) };
  }

  usageChunk(usage) {
    return { ...this.head, object: this.chunkObject, choices: [], usage: usageOf(usage) };
  }

  logprobsOf(tokens, offset) {
    return this.parameters.top === undefined || tokens.length === 0 ? null : this.logprobs(tokens, offset);
  }
}

export class Chat extends Shape {
  object = 'chat.completion';
  chunkObject = 'chat.completion.chunk';
  #begun = new Set();

  wholeChoice({ text, tokens, finish }, index) {
    const message = { role: 'assistant', content: text, refusal: null };
    return { index, message, logprobs: this.logprobsOf(tokens), finish_reason: finish };
  }

  chunkChoice(index, { text, token, finish }) {
    const role = this.#begun.has(index) ? {} : { role: 'assistant' };
    this.#begun.add(index);
    const logprobs = this.logprobsOf(token ? [token] : []);
    return { index, delta: { ...role, content: text }, logprobs, finish_reason: finish ?? null };
  }

  logprobs(tokens) {
    const entry = (id, logprob) => ({ token: this.textOf(id), logprob, bytes: [...this.model.bytesOf(id)] });
    const content = tokens.map(({ id, modelLogProb, modelTopLogProbs }) => ({
      ...entry(id, modelLogProb),
      top_logprobs: modelTopLogProbs.map(each => entry(each.id, each.logProb)),
    }));
    return { content, refusal: null };
  }
}

export class Completion extends Shape {
  object = 'text_completion';
  chunkObject = 'text_completion';

  wholeChoice({ text, tokens, finish }, index) {
    return { index, text, logprobs: this.logprobsOf(tokens, 0), finish_reason: finish };
  }

  chunkChoice(index, { text, token, finish }) {
    const offset = this.texts[index].text.length - text.length;
    const logprobs = this.logprobsOf(token ? [token] : [], offset);
    return { index, text, logprobs, finish_reason: finish ?? null };
  }

  logprobs(tokens, offset) {
    let at = offset;
    const texts = tokens.map(({ id }) => this.textOf(id));
    return {
      tokens: texts,
      token_logprobs: tokens.map(({ modelLogProb }) => modelLogProb),
      top_logprobs: tokens.map(({ modelTopLogProbs }) =>
        Object.fromEntries(modelTopLogProbs.map(({ id, logProb }) => [this.textOf(id), logProb])),
      ),
      text_offset: texts.map(text => {
        const place = at;
        at += text.length;
        return place;
      }),
    };
  }
}

function usageOf({ prompt, completion }) {
  return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion };
}
