/**
 * Reads JSON where `JSON.parse` would hide what matters: keys that stand twice, numbers beyond 2^53, deep nesting.
 * The reader says what it expects and gets it or a SyntaxError; nothing becomes an object of which a key could be a setter.
 */

const MOST_NESTING = 128;
const LONGEST_SCALAR = 400;
const SCALAR = /^(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)$/;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

export class JsonScanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Reads an object; `member` must read the value of each key. Refuses a key that stands twice. */
  object(member: (key: string) => void): void {
    this.#expect('{');
    const seen = new Set<string>();
    if (this.#take('}')) return;
    do {
      const key = this.string();
      if (seen.has(key)) throw this.#error(`key ${JSON.stringify(key.slice(0, 80))} twice`);
      seen.add(key);
      this.#expect(':');
      member(key);
    } while (this.#take(','));
    this.#expect('}');
  }

  /** Reads an array; `element` must read each element. */
  array(element: () => void): void {
    this.#expect('[');
    if (this.#take(']')) return;
    do element();
    while (this.#take(','));
    this.#expect(']');
  }

  string(): string {
    this.#expect('"', 'a string');
    const text = this.#text;
    const start = this.#at;
    let at = start;
    let escaped = false;
    for (let code = text.charCodeAt(at); code !== QUOTE; code = text.charCodeAt(++at)) {
      if (!(code >= 0x20)) throw this.#unexpected('the rest of a string', at); // NaN at the end of the text
      if (code !== BACKSLASH) continue;
      escaped = true;
      at++;
    }
    this.#at = at + 1;
    if (!escaped) return text.slice(start, at);
    const string = JSON.parse(text.slice(start - 1, at + 1)) as string;
    if (/\p{Surrogate}/u.test(string)) throw this.#error('half of a surrogate pair');
    return string;
  }

  /** A whole number from 0 to 2^53 − 1, written as such. */
  wholeNumber(): number {
    this.#space();
    const scalar = this.#scalar();
    if (!/^(?:0|[1-9][0-9]*)$/.test(scalar)) throw this.#unexpected('a whole number');
    const value = Number(scalar);
    if (!Number.isSafeInteger(value)) throw this.#error('a number of 2^53 or more');
    this.#at += scalar.length;
    return value;
  }

  /** Reads over any value. */
  skip(nesting = 0): void {
    this.#space();
    if (nesting > MOST_NESTING) throw this.#error(`more than ${MOST_NESTING} levels of nesting`);
    const next = this.#text[this.#at];
    if (next === '{') this.object(() => this.skip(nesting + 1));
    else if (next === '[') this.array(() => this.skip(nesting + 1));
    else if (next === '"') this.string();
    else {
      const scalar = this.#scalar();
      if (!SCALAR.test(scalar)) throw this.#unexpected('a value');
      this.#at += scalar.length;
    }
  }

  /** Nothing but white space may follow. */
  end(): void {
    this.#space();
    if (this.#at < this.#text.length) throw this.#error('more text after the end');
  }

  #space(): void {
    const text = this.#text;
    let at = this.#at;
    for (
      let code = text.charCodeAt(at);
      code === 0x20 || (code >= 9 && code <= 13);
      code = text.charCodeAt(++at)
    ) {
      if (code === 0x0b || code === 0x0c) break;
    }
    this.#at = at;
  }

  /** What stands here up to the next bracket, comma or space; too long, it is no number that anyone writes. */
  #scalar(): string {
    const piece = this.#text.slice(this.#at, this.#at + LONGEST_SCALAR);
    const end = piece.search(/[^-+.0-9A-Za-z]/);
    return end < 0 ? piece : piece.slice(0, end);
  }

  #take(character: string): boolean {
    this.#space();
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #expect(character: string, what = `'${character}'`): void {
    if (!this.#take(character)) throw this.#unexpected(what);
  }

  #unexpected(wanted: string, at = this.#at): SyntaxError {
    const next = this.#text[at];
    this.#at = at;
    return this.#error(`${next === undefined ? 'the end' : JSON.stringify(next)} where ${wanted} should be`);
  }

  #error(what: string): SyntaxError {
    return new SyntaxError(`${what}, at character ${this.#at}`);
  }
}
