/** A model folder, opened: an ONNX decoder, its tokenizer and chat template, and grammars over its tokens. */
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Template } from '@huggingface/jinja';
import { Tokenizer } from '@huggingface/tokenizers';
import { OnnxDecoder } from '../../dist/onnx/index.mjs';
import { BadRequest } from './parameters.mjs';
import { writeShippedModel } from './shipped-model.mjs';

const MODEL_NAMES = ['model.onnx', 'onnx/model_q4.onnx', 'onnx/model_quantized.onnx', 'onnx/model.onnx'];
const SPACE = '▁';

/** Of examples/onnxruntime, where this project has it; of your own package, simply `import('onnxruntime-node')`. */
const runtime = createRequire(new URL('../onnxruntime/package.json', import.meta.url))('onnxruntime-node');

/**
 * @param {string} [folder] as it was downloaded; left out, the small model's
 * @param {object} [options] of OnnxDecoder.open
 */
export async function openModel(folder, options) {
  const made = folder === undefined ? mkdtempSync(join(tmpdir(), 'lmhead-model-')) : undefined;
  if (made) writeShippedModel(made);
  try {
    const place = folder ?? made;
    const file = MODEL_NAMES.map(name => join(place, name)).find(path => existsSync(path));
    if (!file) throw new Error(`${place} has none of ${MODEL_NAMES.join(', ')}`);
    const decoder = await OnnxDecoder.open(file, { runtime, ...options });
    return new Model(decoder, place, made ? 'tiny-lm' : basename(folder));
  } finally {
    if (made) rmSync(made, { recursive: true });
  }
}

class Model {
  #tokenizer;
  #template;
  #special;
  /** What compiles grammars, and those that it has compiled, by schema. */
  #engine;

  constructor(decoder, folder, name) {
    const read = file =>
      existsSync(join(folder, file)) ? readFileSync(join(folder, file), 'utf8') : undefined;
    const tokenizer = JSON.parse(read('tokenizer.json'));
    const settings = JSON.parse(read('tokenizer_config.json') ?? '{}');
    const config = {
      ...JSON.parse(read('config.json') ?? '{}'),
      ...JSON.parse(read('generation_config.json') ?? '{}'),
    };
    this.decoder = decoder;
    this.name = name;
    this.#tokenizer = new Tokenizer(tokenizer, settings);
    this.pieces = piecesOf(tokenizer, decoder.vocabSize);
    this.decoderTypes = typesOf(tokenizer.decoder);
    const template = read('chat_template.jinja') ?? defaultOf(settings.chat_template);
    this.#template = template && new Template(template);
    const text = token => token?.content ?? token;
    this.#special = { bos_token: text(settings.bos_token) ?? '', eos_token: text(settings.eos_token) ?? '' };
    this.stopIds = [config.eos_token_id ?? []].flat();
    this.positions = config.max_position_embeddings ?? config.text_config?.max_position_embeddings ?? 2048;
  }

  /** @param {string} text of a completion's prompt */
  encode(text) {
    return this.#tokenizer.encode(text).ids;
  }

  /** @param {object[]} messages of a chat */
  encodeChat(messages) {
    if (!this.#template)
      throw new BadRequest('messages', 'the model has no chat template; use /v1/completions');
    let text;
    try {
      text = this.#template.render({ messages, add_generation_prompt: true, ...this.#special });
    } catch (error) {
      // Templates refuse roles, and their order, by themselves.
      throw new BadRequest('messages', error.message);
    }
    return this.#tokenizer.encode(text, { add_special_tokens: false }).ids;
  }

  /** @param {number[]} ids */
  decode(ids) {
    return ids.length === 0 ? '' : this.#tokenizer.decode(ids, { skip_special_tokens: true });
  }

  /** One token by itself, whose bytes may be a part of a character. */
  bytesOf(id) {
    const piece = this.pieces[id];
    if (this.decoderTypes.includes('ByteLevel'))
      return Buffer.from(Array.from(piece, letter => BYTES.get(letter) ?? 63));
    const byte = /^<0x([0-9A-F]{2})>$/.exec(piece);
    return byte ? Buffer.from(byte[1], 'hex') : Buffer.from(piece.replaceAll(SPACE, ' '));
  }

  /**
   * What keeps to a JSON schema, from the first token on.
   * @param {object | undefined} schema undefined: any JSON
   * @returns what `generate` takes as `nextOptions`, and `isOver`: may nothing come but the end?
   */
  async grammar(schema) {
    this.#engine ??= this.#newEngine();
    const { GrammarMatcher, compiler, grammars } = await this.#engine;
    const key = JSON.stringify(schema);
    if (!grammars.has(key)) {
      const compiling =
        schema === undefined
          ? compiler.compileBuiltinJSONGrammar()
          : compiler.compileJSONSchema(key, false, -1, [',', ':']);
      // A schema that it does not take ends the engine: whoever comes next has another.
      compiling.catch(() => {
        this.#engine = undefined;
      });
      grammars.set(key, compiling);
    }
    const grammar = await grammars.get(key).catch(() => {
      throw new BadRequest('response_format', 'want a JSON schema that xgrammar takes');
    });
    const matcher = await GrammarMatcher.createGrammarMatcher(grammar);
    return {
      async nextOptions(drawn) {
        if (drawn.length > 0) matcher.acceptToken(drawn.at(-1));
        return { allowedMask: (await matcher.getNextTokenBitmask()).slice() };
      },
      dispose: () => matcher.dispose(),
    };
  }

  async #newEngine() {
    const { GrammarCompiler, GrammarMatcher, TokenizerInfo } = loadXgrammar();
    const kind = this.decoderTypes.includes('ByteLevel') ? 'byte_level' : 'byte_fallback';
    const tokens = await TokenizerInfo.createTokenizerInfo(
      this.pieces,
      kind,
      false,
      this.pieces.length,
      this.stopIds,
    );
    const compiler = await GrammarCompiler.createGrammarCompiler(tokens);
    return { GrammarMatcher, compiler, grammars: new Map() };
  }

  async close() {
    await this.decoder.close();
  }
}

/** The template that has no name of its own. */
function defaultOf(template) {
  if (!Array.isArray(template)) return template;
  return (template.find(({ name }) => name === 'default') ?? template[0])?.template;
}

/** Texts of all tokens, as the tokenizer writes them. */
function piecesOf({ model, added_tokens: added = [] }, count) {
  const pieces = new Array(count).fill('');
  const set = (id, piece) => {
    if (id < count) pieces[id] = piece;
  };
  if (Array.isArray(model.vocab)) for (const [id, [piece]] of model.vocab.entries()) set(id, piece);
  else for (const [piece, id] of Object.entries(model.vocab)) set(id, piece);
  for (const { id, content } of added) set(id, content);
  return pieces;
}

function typesOf(decoder) {
  return [decoder?.type, ...(decoder?.decoders ?? []).map(({ type }) => type)];
}

/** Bytes by the letters that byte-level tokenizers write for them. */
const BYTES = new Map();
for (let byte = 0, next = 256; byte < 256; byte++) {
  const shown = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  BYTES.set(String.fromCharCode(shown ? byte : next++), byte);
}

/** Its package calls a CommonJS bundle a module: a copy says what it is (docs/recipes/grammar.md). A new one each time. */
function loadXgrammar() {
  const require = createRequire(import.meta.url);
  const folder = mkdtempSync(join(tmpdir(), 'xgrammar-'));
  try {
    const copy = join(folder, 'xgrammar.cjs');
    copyFileSync(require.resolve('@mlc-ai/web-xgrammar'), copy);
    return require(copy);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
