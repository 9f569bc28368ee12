/** The vocabulary that a GGUF file brings with its weights. */
import { basename, dirname, join } from 'node:path';
import { LMHeadError } from '../errors';
import { type GgufArray, type GgufHeader, readGguf } from '../formats/gguf';
import { ggufParts } from '../formats/gguf-parts';
import { look, notAFile, type Plan, within } from '../formats/read-plan';
import { type Spelling, textOfBytes, textOfPiece } from './pieces';
import { TokenTexts } from './token-texts';

const TOKENS = 'tokenizer.ggml.tokens';
const TYPES = 'tokenizer.ggml.token_type';
/** Of tokens that are written as they are: unknown, control, user-defined. */
const VERBATIM = new Set([2, 3, 4]);

/** By tokenizer.ggml.model, as llama.cpp turns tokens into text. */
const SPELLINGS = new Map<unknown, Spelling>([
  ['gpt2', 'bytes'],
  ['llama', 'metaspace'],
  ['t5', 'metaspace'],
  ['gemma4', 'metaspace'],
  ['bert', 'metaspace'], // its converter has put ▁ in the place of ##'s absence
  ['plamo2', 'metaspace'],
  ['rwkv', 'rwkv'],
]);

/**
 * @param path of a file, or of any part of one that was cut into several
 * @returns undefined where it has no vocabulary
 * @throws LMHeadError FORMAT
 */
export function* ggufVocabulary(path: string): Plan<TokenTexts | undefined> {
  let header = yield* headerOf(path);
  const [first] = ggufParts(basename(path), header.metadata);
  if (!header.metadata.has(TOKENS) && first !== basename(path))
    header = yield* headerOf(join(dirname(path), first));
  const { metadata } = header;
  const tokens = (metadata.get(TOKENS) as GgufArray | undefined)?.strings;
  if (tokens === undefined || tokens.length === 0) return undefined;
  const types = (metadata.get(TYPES) as GgufArray | undefined)?.numbers;
  if (types !== undefined && types.length !== tokens.length) {
    throw new LMHeadError(
      'FORMAT',
      `${basename(path)}: it has ${tokens.length} tokens and ${types.length} types of them; want a well-formed .gguf file`,
    );
  }
  const spelling = SPELLINGS.get(metadata.get('tokenizer.ggml.model')) ?? 'plain';
  return new TokenTexts(basename(path), tokens.length, id => {
    if (!(id in tokens)) return undefined;
    const piece = textOfBytes(tokens[id]);
    return types && VERBATIM.has(types[id]) ? piece : textOfPiece(piece, spelling);
  });
}

function* headerOf(path: string): Plan<GgufHeader> {
  const found = yield* look(path);
  if (found.kind !== 'file') throw notAFile(path, found, 'tokenizer', 'a .gguf file');
  return yield* within(path, found.size, size => readGguf(basename(path), size, [TOKENS, TYPES]));
}
