/** What the entries of vocabularies stand for: each kind of tokenizer has its way to write bytes and spaces. */

/**
 * How entries are written. 'bytes': a letter for every byte (GPT-2). 'metaspace': ▁ for a space, <0x0A> for a byte
 * (SentencePiece). 'wordpiece': ## where no space is before it (BERT). 'suffix': </w> where a space is after it. 'rwkv': escapes as
 * in Python. 'plain': as it is.
 */
export type Spelling = 'bytes' | 'metaspace' | 'wordpiece' | 'suffix' | 'rwkv' | 'plain';

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Bytes as text. One that is of no UTF-8 becomes a lone surrogate, U+DC00 and the byte, as Python's 'surrogateescape' has it: so
 * no byte is lost, and no two entries are the same.
 */
export function textOfBytes(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    let text = '';
    for (let at = 0; at < bytes.length; ) {
      const length = sequenceLength(bytes[at]);
      const character = at + length <= bytes.length ? decoded(bytes.subarray(at, at + length)) : undefined;
      text += character ?? String.fromCharCode(0xdc00 + bytes[at]);
      at += character === undefined ? 1 : length;
    }
    return text;
  }
}

function decoded(bytes: Uint8Array): string | undefined {
  try {
    return strict.decode(bytes);
  } catch {
    return undefined;
  }
}

function sequenceLength(first: number): number {
  if (first < 0xc0) return 1;
  return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/** GPT-2's letters: printable bytes stand for themselves, the others for what comes after U+00FF. */
const BYTE_OF_LETTER = new Map<string, number>();
{
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
    BYTE_OF_LETTER.set(String.fromCharCode(printable ? byte : next++), byte);
  }
}

/** The text that an entry stands for. */
export function textOfPiece(piece: string, spelling: Spelling): string {
  switch (spelling) {
    case 'bytes': {
      const bytes = Array.from(piece, letter => BYTE_OF_LETTER.get(letter));
      return bytes.includes(undefined) ? piece : textOfBytes(Uint8Array.from(bytes as number[]));
    }
    case 'metaspace': {
      const [, hex] = /^<0x([0-9A-Fa-f]{2})>$/.exec(piece) ?? [];
      return hex === undefined ? piece.replaceAll('▁', ' ') : textOfBytes(Buffer.from(hex, 'hex'));
    }
    case 'wordpiece':
      if (piece.startsWith('##')) return piece.slice(2);
      return /^\[[^\]]+\]$/.test(piece) ? piece : ` ${piece}`;
    case 'suffix':
      return piece.replace(/<\/w>$/, ' ');
    case 'rwkv':
      return unescaped(piece);
    case 'plain':
      return piece;
  }
}

const ESCAPES: Record<string, number> = { n: 10, t: 9, r: 13 };

function unescaped(piece: string): string {
  const bytes: number[] = [];
  const letters = piece.matchAll(/\\x([0-9A-Fa-f]{2})|\\(.)|([^\\]+|\\$)/gsu);
  for (const [, hex, letter, plain] of letters) {
    if (hex !== undefined) bytes.push(Number.parseInt(hex, 16));
    else if (letter !== undefined && letter in ESCAPES) bytes.push(ESCAPES[letter]);
    else for (const byte of Buffer.from(letter ?? plain)) bytes.push(byte);
  }
  return textOfBytes(Uint8Array.from(bytes));
}
