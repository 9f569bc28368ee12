/** The vocabulary of a tokenizer.json, read by Hugging Face's own package, where that is installed. */
import { basename } from 'node:path';
import { LMHeadError } from '../errors';
import { follow, look, notAFile, readText, within } from '../formats/read-plan';
import { type Spelling, textOfPiece } from './pieces';
import { TokenTexts } from './token-texts';

/** Tokenizers of large vocabularies have tens of megabytes. */
const MOST_BYTES = 250_000_000;
const PACKAGE = '@huggingface/tokenizers';

/** What is used of it. */
interface Library {
  Tokenizer: new (
    tokenizer: object,
    config: object,
  ) => {
    id_to_token(id: number): string | undefined;
    get_added_tokens_decoder(): Map<number, unknown>;
    get_vocab(): Map<string, number>;
    decode(ids: number[], options: { skip_special_tokens: boolean }): string;
  };
}

/**
 * @throws LMHeadError IO, FORMAT; LOAD where the package is not installed
 */
export async function readTokenizerJson(path: string): Promise<TokenTexts> {
  const name = basename(path);
  const bytes = await follow(
    (function* () {
      const found = yield* look(path);
      if (found.kind !== 'file') throw notAFile(path, found, 'tokenizer', 'a tokenizer.json or a .gguf file');
      return yield* within(path, found.size, size => readText(name, size, MOST_BYTES));
    })(),
  );
  const malformed = (what: string, cause?: unknown) =>
    new LMHeadError('FORMAT', `tokenizer: ${name}: ${what}; want a tokenizer.json, as tokenizers writes it`, {
      cause,
    });
  let description: Description;
  try {
    description = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString());
  } catch (cause) {
    throw malformed('it is no JSON', cause);
  }
  if (typeof description?.model?.vocab !== 'object' || description.model.vocab === null)
    throw malformed('it has no vocabulary (model.vocab)');
  const { Tokenizer } = await library(name);
  try {
    const tokenizer = new Tokenizer(description, {});
    const added = tokenizer.get_added_tokens_decoder();
    const spelling = spellingOf(description.decoder);
    let count = 0;
    for (const id of tokenizer.get_vocab().values()) count = Math.max(count, id + 1);
    for (const id of added.keys()) count = Math.max(count, id + 1);
    return new TokenTexts(name, count, id => {
      const piece = tokenizer.id_to_token(id);
      if (typeof piece !== 'string' || added.has(id)) return piece;
      return spelling ? textOfPiece(piece, spelling) : tokenizer.decode([id], { skip_special_tokens: false });
    });
  } catch (cause) {
    throw malformed(`${PACKAGE} does not take it (${(cause as Error)?.message})`, cause);
  }
}

interface Description {
  model?: { vocab?: unknown } | null;
  decoder?: Decoder | null;
}
interface Decoder {
  type?: unknown;
  decoders?: unknown;
  pattern?: { String?: unknown };
  prefix?: unknown;
  suffix?: unknown;
}

/** Undefined where the decoder is of no kind that writes single tokens in a way of its own. */
function spellingOf(decoder: Decoder | null | undefined): Spelling | undefined {
  switch (decoder?.type) {
    case undefined:
      return 'plain';
    case 'ByteLevel':
      return 'bytes';
    case 'Metaspace':
      return 'metaspace';
    case 'WordPiece':
      return decoder.prefix === undefined || decoder.prefix === '##' ? 'wordpiece' : undefined;
    case 'BPEDecoder':
      return decoder.suffix === undefined || decoder.suffix === '</w>' ? 'suffix' : undefined;
    case 'Sequence': {
      const parts = Array.isArray(decoder.decoders) ? (decoder.decoders as Decoder[]) : [];
      if (parts.some(part => part?.type === 'ByteLevel')) return 'bytes';
      const spaces = (part: Decoder) =>
        part?.type === 'Metaspace' || (part?.type === 'Replace' && part.pattern?.String === '▁');
      return parts.some(spaces) ? 'metaspace' : undefined;
    }
    default:
      return undefined;
  }
}

async function library(name: string): Promise<Library> {
  try {
    return (await import('@huggingface/tokenizers')) as unknown as Library;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause;
    throw new LMHeadError(
      'LOAD',
      `tokenizer: ${name} is read by the package ${PACKAGE}, which is not installed; want npm install ${PACKAGE}`,
      { cause },
    );
  }
}
