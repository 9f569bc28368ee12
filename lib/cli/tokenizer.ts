/** The texts of tokens for a command: from the tokenizer that is named, or from what lies beside the weights. */
import { dirname, join, resolve } from 'node:path';
import { LMHeadError } from '../errors';
import { follow, look, type Plan } from '../formats/read-plan';
import { kindOf } from '../formats/shards';
import { weightsFile } from '../formats/weights';
import { ggufVocabulary } from '../tokens/gguf-vocabulary';
import type { TokenTexts } from '../tokens/token-texts';
import { readTokenizerJson } from '../tokens/tokenizer-json';
import { quotedToken, visible } from '../tokens/visible';
import { warn } from '../warning';
import type { Parsed } from './options';

const NAME = 'tokenizer.json';
/** As an option's value: none at all. */
const NONE = 'none';

/**
 * @returns undefined where there is none, or where it is not wanted
 * @throws LMHeadError IO, FORMAT, LOAD for one that is named. Of one that was only found, a warning
 */
export async function tokenTextsFor(parsed: Parsed): Promise<TokenTexts | undefined> {
  const named = parsed.text('tokenizer');
  if (named === NONE) return undefined;
  if (named !== undefined) {
    const place = await follow(namedPlace(resolve(named)));
    return textsAt(place, true);
  }
  const place = await follow(placeBeside(resolve(parsed.file!)));
  if (place === undefined) return undefined;
  try {
    return await textsAt(place, false);
  } catch (error) {
    if (!(error instanceof LMHeadError)) throw error;
    warn('LMHEAD_TOKENIZER', `texts of tokens are left out: ${error.message}`);
    return undefined;
  }
}

interface Place {
  path: string;
  kind: 'gguf' | 'json';
}

async function textsAt({ path, kind }: Place, named: boolean): Promise<TokenTexts | undefined> {
  if (kind === 'json') return readTokenizerJson(path);
  const texts = await follow(ggufVocabulary(path));
  if (texts === undefined && named)
    throw new LMHeadError('TENSOR', `tokenizer: ${path} has no vocabulary; want one that has, or ${NAME}`);
  return texts;
}

function* namedPlace(path: string): Plan<Place> {
  const found = yield* look(path);
  if (found.kind === 'folder') {
    if (found.names.includes(NAME)) return { path: join(path, NAME), kind: 'json' };
    const gguf = found.names.find(name => /\.gguf$/i.test(name));
    if (gguf !== undefined) return { path: join(path, gguf), kind: 'gguf' };
    throw new LMHeadError('IO', `tokenizer: the folder ${path} has no ${NAME}; want one that has, or a file`);
  }
  if (found.kind !== 'file' || path.endsWith('.json')) return { path, kind: 'json' };
  return { path, kind: (yield* kindOf(path, found.size)) === 'gguf' ? 'gguf' : 'json' };
}

function* placeBeside(weights: string): Plan<Place | undefined> {
  const { file, size } = yield* weightsFile(weights);
  if ((yield* kindOf(file, size)) === 'gguf') return { path: file, kind: 'gguf' };
  const path = join(dirname(file), NAME);
  return (yield* look(path)).kind === 'file' ? { path, kind: 'json' } : undefined;
}

/** A cell of a table. */
export function tokenCell(texts: TokenTexts, id: number): string {
  const text = texts.text(id);
  return text === undefined ? '' : quotedToken(text);
}

/** In a sentence, without quotes. */
export function tokenWord(texts: TokenTexts | undefined, id: number): string {
  const text = texts?.text(id);
  return text === undefined ? String(id) : visible(text, 40);
}
