/** Text of tokens as it can be shown: nothing in it acts on a terminal, changes the order of what is beside it, or is invisible. */

/** What has no look of its own, or one that depends on what is around it; lone surrogates are of these. */
const HIDDEN =
  /^(?:[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}|[\u115f\u1160\u3164\uffa0\u2800]|\u034f|[\ufe00-\ufe0f])$/u;
const SHORT: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\' };

function shown(character: string): string {
  if (character in SHORT) return SHORT[character];
  if (!HIDDEN.test(character)) return character;
  const code = character.codePointAt(0)!;
  // A byte that is of no text, as textOfBytes marks it; and those that are the same either way.
  if ((code >= 0xdc80 && code <= 0xdcff) || code < 0x80) return `\\x${hex(code & 0xff, 2)}`;
  return code > 0xffff ? `\\u{${hex(code, 5)}}` : `\\u${hex(code, 4)}`;
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, '0');
}

/** In the order of what is most often there. */
const COMBINING = /^[\p{M}]$/u;
const WIDE =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{16fe0}-\u{18aff}\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}]$|^\p{Emoji_Presentation}$/u;

function columnsOf(character: string): number {
  if (character < '\u0300') return 1;
  if (COMBINING.test(character)) return 0;
  return WIDE.test(character) ? 2 : 1;
}

/** Columns of a terminal that a line of visible text takes. */
export function columns(text: string): number {
  if (/^[ -~]*$/.test(text)) return text.length;
  let sum = 0;
  for (const character of text) sum += columnsOf(character);
  return sum;
}

/** Marks that may stand on one letter: piled up, they cover what is above. */
const MOST_MARKS = 4;

/**
 * @param most columns that it may take; what is longer ends with …
 * @returns the text with escapes in place of what cannot be seen: \n, \x1b, \u202e, and \xe2 for a byte that is of no UTF-8
 */
export function visible(text: string, most: number): string {
  let result = '';
  let width = 0;
  let cut = { length: 0, width: 0 };
  let marks = 0;
  for (const character of text) {
    let piece = shown(character);
    if (COMBINING.test(character)) {
      // With nothing to stand on, or too many of them.
      if (result === '') piece = `◌${piece}`;
      else if (++marks > MOST_MARKS) piece = `\\u{${hex(character.codePointAt(0)!, 4)}}`;
    } else marks = 0;
    const more = columns(piece);
    if (width + more > most) return `${result.slice(0, cut.length)}…`;
    result += piece;
    width += more;
    if (width < most) cut = { length: result.length, width };
  }
  return result;
}

/** In quotes, so that spaces show. */
export function quotedToken(text: string, most = 40): string {
  return `"${visible(text, most - 2).replaceAll('"', '\\"')}"`;
}
