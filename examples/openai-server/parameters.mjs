/** What clients ask for, checked, in this library's words. */

/** A client's fault, with the parameter's name. */
export class BadRequest extends Error {
  constructor(parameter, message, status = 400) {
    super(`${parameter}: ${message}`);
    this.parameter = parameter;
    this.status = status;
  }
}

const KNOWN = new Set(
  (
    'model prompt messages max_tokens max_completion_tokens temperature top_p top_k min_p repetition_penalty n seed stop stream ' +
    'stream_options logprobs top_logprobs logit_bias frequency_penalty presence_penalty response_format user metadata store'
  ).split(' '),
);
/** What clients send though they don't ask for it. */
const DEFAULTS = { best_of: 1, suffix: '' };
const MOST_CHOICES = 64;

/**
 * @param {Record<string, unknown>} body of a request
 * @param {boolean} isChat
 */
export function readParameters(body, isChat) {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new BadRequest('body', 'want an object');
  for (const [name, value] of Object.entries(body)) {
    const asksNothing = value === null || value === false || value === DEFAULTS[name];
    if (!KNOWN.has(name) && !asksNothing) throw new BadRequest(name, 'this server does not have it');
  }
  const model = body.model ?? undefined;
  if (model !== undefined && typeof model !== 'string') throw new BadRequest('model', 'want its name');
  const number = (name, low, high, isInteger = false) => {
    const value = body[name] ?? undefined;
    if (value === undefined) return undefined;
    const fits =
      typeof value === 'number' && value >= low && value <= high && (!isInteger || Number.isInteger(value));
    if (!fits)
      throw new BadRequest(name, `want ${isInteger ? 'an integer' : 'a number'} from ${low} to ${high}`);
    return value;
  };
  const flag = name => {
    const value = body[name] ?? false;
    if (typeof value !== 'boolean') throw new BadRequest(name, 'want true or false');
    return value;
  };
  const most = number('max_completion_tokens', 1, 1e9, true) ?? number('max_tokens', 0, 1e9, true);
  const stop = [body.stop ?? []].flat();
  if (stop.length > 16 || stop.some(text => typeof text !== 'string' || text === '')) {
    throw new BadRequest('stop', 'want a text, or a list of texts');
  }
  // Of completions a number, of chats a flag beside one.
  const top = isChat
    ? flag('logprobs')
      ? (number('top_logprobs', 0, 20, true) ?? 0)
      : undefined
    : number('logprobs', 0, 20, true);
  if (isChat && top === undefined && (body.top_logprobs ?? 0) > 0) {
    throw new BadRequest('top_logprobs', 'want logprobs: true beside it');
  }
  const options = {
    temperature: number('temperature', 0, 2) ?? 1,
    topP: number('top_p', 0, 1),
    topK: number('top_k', 0, 1e9, true),
    minP: number('min_p', 0, 1),
    repetitionPenalty: number('repetition_penalty', 1e-3, 1e3),
    frequencyPenalty: number('frequency_penalty', -2, 2),
    presencePenalty: number('presence_penalty', -2, 2),
    logitBias: biasOf(body.logit_bias),
    seed: number('seed', 0, Number.MAX_SAFE_INTEGER, true),
    topLogProbs: top,
  };
  return {
    model,
    options,
    maxTokens: most ?? (isChat ? Number.POSITIVE_INFINITY : 16),
    choices: number('n', 1, MOST_CHOICES, true) ?? 1,
    stop,
    stream: flag('stream'),
    includeUsage: body.stream_options?.include_usage === true,
    top,
    grammar: grammarOf(body.response_format),
  };
}

function biasOf(given) {
  if (given === undefined || given === null) return undefined;
  if (!isObject(given)) throw new BadRequest('logit_bias', 'want an object of numbers by token id');
  const entries = Object.entries(given);
  for (const [id, bias] of entries) {
    if (!/^\d+$/.test(id) || typeof bias !== 'number' || !(Math.abs(bias) <= 100)) {
      throw new BadRequest('logit_bias', 'want numbers from -100 to 100 by token id');
    }
  }
  return entries.length === 0 ? undefined : new Map(entries.map(([id, bias]) => [Number(id), bias]));
}

const isObject = value => typeof value === 'object' && value !== null && !Array.isArray(value);

function grammarOf(format) {
  if (format === undefined || format === null) return undefined;
  switch (format.type) {
    case 'text':
      return undefined;
    case 'json_object':
      return { schema: undefined };
    case 'json_schema':
      if (isObject(format.json_schema?.schema)) return { schema: format.json_schema.schema };
      throw new BadRequest('response_format', 'want json_schema: { schema }');
    default:
      throw new BadRequest('response_format', "want type 'text', 'json_object' or 'json_schema'");
  }
}

/** Prompts of a completion, as ids. */
export function promptsOf(prompt, model) {
  const isIds = value => Array.isArray(value) && value.length > 0 && value.every(id => Number.isInteger(id));
  if (typeof prompt === 'string') return [model.encode(prompt)];
  if (isIds(prompt)) return [prompt];
  if (Array.isArray(prompt) && prompt.length > 0 && prompt.length <= MOST_CHOICES) {
    return prompt.map(each => {
      if (typeof each === 'string') return model.encode(each);
      if (isIds(each)) return each;
      throw new BadRequest('prompt', 'want texts, or lists of token ids');
    });
  }
  throw new BadRequest('prompt', 'want a text, a list of token ids, or a list of these');
}

/** Messages as chat templates take them: parts of text are joined. */
export function messagesOf(messages) {
  if (!Array.isArray(messages) || messages.length === 0)
    throw new BadRequest('messages', 'want a list of messages');
  return messages.map((message, i) => {
    const { role, content } = message ?? {};
    const parts = Array.isArray(content) ? content : [{ type: 'text', text: content ?? '' }];
    if (
      typeof role !== 'string' ||
      parts.some(({ type, text }) => type !== 'text' || typeof text !== 'string')
    ) {
      throw new BadRequest(`messages[${i}]`, 'want a role and content of text');
    }
    return { ...message, content: parts.map(({ text }) => text).join('') };
  });
}
