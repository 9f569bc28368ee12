/** Makes tokenizer.json files, and tokens that somebody means ill with. */

/** Lone surrogates stand for bytes that are of no UTF-8. */
export const HOSTILE = [
  ' the',
  '\x1b[31mred',
  '\x9b2J\x07',
  '\u202eevil',
  'a\nb',
  '\r\n',
  '\0',
  '\udce2\udc80',
  'x'.repeat(10_000),
  '</script><script>globalThis.hacked=1</script>',
  '<img src=x onerror="globalThis.hacked=1">',
  '&lt;b&gt;',
  '"',
  "'",
  '\\',
  '$' + '{globalThis.hacked=1}',
  '\u2028',
  '日本語',
  `e${'\u0301'.repeat(50)}`,
  '\u200b',
  'مرحبا',
  '<!--',
  ']]>',
  '__proto__',
  'javascript:hacked=1',
];

const LETTERS: string[] = [];
{
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
    LETTERS.push(String.fromCharCode(printable ? byte : next++));
  }
}

/** As GPT-2 writes a token. */
export function byteLevel(text: string): string {
  const bytes = Array.from(text, c =>
    /^[\udc80-\udcff]$/.test(c) ? [c.charCodeAt(0) - 0xdc00] : [...Buffer.from(c)],
  );
  return bytes
    .flat()
    .map(byte => LETTERS[byte])
    .join('');
}

/**
 * A byte-level tokenizer with these tokens; or one with entries as they are to stand there, and a decoder for them.
 */
export function tokenizerJson(
  texts: readonly string[],
  { pieces = texts.map(byteLevel), decoder = { type: 'ByteLevel' } as object | null } = {},
): string {
  const vocab = `{${pieces.map((piece, id) => `${JSON.stringify(piece)}:${id}`).join(',')}}`;
  const rest = {
    version: '1.0',
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder,
  };
  const model = `{"type":"BPE","merges":[],"unk_token":null,"vocab":${vocab}}`;
  return `${JSON.stringify(rest).slice(0, -1)},"model":${model}}`;
}
