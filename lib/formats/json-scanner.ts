/**
 * Reads JSON where `JSON.parse` would hide what matters: keys that stand twice, numbers beyond 2^53, deep nesting.
 * The reader says what it expects and gets it or a SyntaxError; nothing becomes an object of which a key could be a setter.
 * It reads UTF-8 in place: of a text of any length, no more is on JavaScript's heap than what a reader asks for.
 */

import { quoted } from './tensor-table';

/** Any value. Objects are Maps. */
export type JsonValue = null | boolean | number | string | JsonValue[] | Map<string, JsonValue>;

const MOST_NESTING = 128;
/** What is small as text is not in memory: two characters of an empty object become 200 bytes. No config has as many. */
const MOST_VALUES = 100_000;
const MOST_KEYS = 1000;
const LONGEST_KEY = 1000;
/** So many keys are found faster one by one than by a set. */
const LISTED_KEYS = 12;
const LONGEST_SCALAR = 400;
const SCALAR = /^(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)$/;
/** What Python's json module writes where JSON has nothing. */
const PYTHON_NUMBERS = new Map([
  ['NaN', Number.NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
]);

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const ZERO = 0x30;
const NINE = 0x39;

const U = 0x75;
/** What may stand behind a backslash, what behind that and u, and what is part of a number or word. */
const ESCAPED = bytesOf(/["\\/bfnrtu]/);
const HEX = bytesOf(/[0-9a-fA-F]/);
const SCALAR_BYTES = bytesOf(/[-+.0-9A-Za-z]/);

/** A 1 for every byte that matches. */
function bytesOf(pattern: RegExp): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => Number(pattern.test(String.fromCharCode(byte))));
}

export class JsonScanner {
  readonly #bytes: Buffer;
  readonly #python: boolean;
  #at = 0;

  /**
   * @param text a string, or well-formed UTF-8
   * @param python take NaN and Infinity too, as Python's reader does
   */
  constructor(text: string | Uint8Array, { python = false } = {}) {
    this.#bytes =
      typeof text === 'string'
        ? Buffer.from(text)
        : Buffer.from(text.buffer, text.byteOffset, text.byteLength);
    this.#python = python;
  }

  /**
   * Reads an object of a few known keys; `member` must read the value of each key. Refuses a key that is there twice, and more or
   * longer keys than are to be remembered for that.
   */
  object(member: (key: string) => void): void {
    const seen: string[] = [];
    let many: Set<string> | undefined;
    this.members(key => {
      if (many ? many.has(key) : seen.includes(key)) throw this.twice(key);
      if (many?.size === MOST_KEYS) throw this.tooMany('keys in an object', MOST_KEYS);
      if (many) many.add(key);
      else if (seen.push(key) === LISTED_KEYS) many = new Set(seen);
      member(key);
    }, LONGEST_KEY);
  }

  /**
   * Reads an object of any number of keys, of which none is remembered.
   * @param longest bytes that a key may have
   */
  members(member: (key: string) => void, longest = Infinity): void {
    this.#expect(OPEN_BRACE);
    if (this.#accept(CLOSE_BRACE)) return;
    do {
      const key = this.string(longest);
      this.#expect(COLON);
      member(key);
    } while (this.#accept(COMMA));
    this.#expect(CLOSE_BRACE);
  }

  /** As `members`, where keys don't matter. */
  values(member: () => void): void {
    this.#expect(OPEN_BRACE);
    if (this.#accept(CLOSE_BRACE)) return;
    do {
      this.#skipKey();
      member();
    } while (this.#accept(COMMA));
    this.#expect(CLOSE_BRACE);
  }

  /** Reads an array; `element` must read each element. */
  array(element: () => void): void {
    this.#expect(OPEN_BRACKET);
    if (this.#accept(CLOSE_BRACKET)) return;
    do element();
    while (this.#accept(COMMA));
    this.#expect(CLOSE_BRACKET);
  }

  /** @param longest bytes of it, as it is written */
  string(longest = Infinity): string {
    const start = this.#stringStart();
    const { end, escaped } = this.#stringEnd(start);
    if (end - start > longest) throw this.tooMany('bytes in a name', longest);
    const bytes = this.#bytes;
    if (!escaped) return bytes.toString('utf8', start, end);
    const string = JSON.parse(bytes.toString('utf8', start - 1, end + 1)) as string;
    if (/\p{Surrogate}/u.test(string)) throw this.#error('half of a surrogate pair');
    return string;
  }

  #stringStart(): number {
    this.#expect(QUOTE, 'a string');
    return this.#at;
  }

  /** Where the string that begins at `start` ends, without its quotes. */
  #stringEnd(start: number): { end: number; escaped: boolean } {
    const bytes = this.#bytes;
    let at = start;
    let escaped = false;
    for (let byte = bytes[at]; byte !== QUOTE; byte = bytes[++at]) {
      if (!(byte >= 0x20)) throw this.#unexpected('the rest of a string', at); // undefined at the end of the text
      if (byte !== BACKSLASH) continue;
      escaped = true;
      if (!ESCAPED[bytes[++at]]) throw this.#unexpected('an escape', at);
      if (bytes[at] !== U) continue;
      for (let i = 0; i < 4; i++) if (!HEX[bytes[++at]]) throw this.#unexpected('four digits', at);
    }
    this.#at = at + 1;
    return { end: at, escaped };
  }

  /** An integer from 0 to 2^53 − 1, written as such. */
  integer(): number {
    this.#space();
    const bytes = this.#bytes;
    const start = this.#at;
    let at = start;
    let value = 0;
    for (let byte = bytes[at]; byte >= ZERO && byte <= NINE; byte = bytes[++at]) {
      value = value * 10 + (byte - ZERO);
      if (value > Number.MAX_SAFE_INTEGER) throw this.#error('a number of 2^53 or more');
    }
    if (at === start || (at > start + 1 && bytes[start] === ZERO)) {
      throw this.#unexpected('an integer');
    }
    this.#at = at;
    return value;
  }

  /** What kind of value comes next? */
  next(): 'object' | 'array' | 'string' | 'scalar' {
    this.#space();
    const next = this.#bytes[this.#at];
    if (next === OPEN_BRACE) return 'object';
    if (next === OPEN_BRACKET) return 'array';
    return next === QUOTE ? 'string' : 'scalar';
  }

  /** Reads over any value, and keeps nothing of it. */
  skip(): void {
    const open: number[] = [];
    do {
      // A value, or the beginning of one.
      const kind = this.next();
      if (kind === 'string') this.#stringEnd(this.#stringStart());
      else if (kind === 'scalar') {
        if (!this.#takeDigits()) this.#value();
      } else {
        this.#requireShallow(open.length);
        this.#at++;
        const close = kind === 'object' ? CLOSE_BRACE : CLOSE_BRACKET;
        if (!this.#accept(close)) {
          open.push(close);
          if (kind === 'object') this.#skipKey();
          continue;
        }
      }
      // What ends with it.
      while (open.length > 0 && !this.#accept(COMMA)) this.#expect(open.pop()!);
      if (open.at(-1) === CLOSE_BRACE) this.#skipKey();
    } while (open.length > 0);
  }

  #skipKey(): void {
    this.#stringEnd(this.#stringStart());
    this.#expect(COLON);
  }

  /** Reads over a number of nothing but digits, which most are, if one is here. */
  #takeDigits(): boolean {
    const bytes = this.#bytes;
    const start = this.#at;
    let at = start;
    while (bytes[at] >= ZERO && bytes[at] <= NINE) at++;
    if (at === start || SCALAR_BYTES[bytes[at]] || (bytes[start] === ZERO && at > start + 1)) return false;
    this.#at = at;
    return true;
  }

  /** Any value, of no more than a hundred thousand parts. */
  value(): JsonValue {
    return this.#any(0, { parts: 0 });
  }

  #any(nesting: number, so: { parts: number }): JsonValue {
    this.#requireShallow(nesting);
    if (++so.parts > MOST_VALUES) throw this.tooMany('values', MOST_VALUES);
    const kind = this.next();
    if (kind === 'string') return this.string();
    if (kind === 'scalar') return this.#value();
    if (kind === 'array') {
      const elements: JsonValue[] = [];
      this.array(() => elements.push(this.#any(nesting + 1, so)));
      return elements;
    }
    const members = new Map<string, JsonValue>();
    this.members(key => {
      if (members.has(key)) throw this.twice(key);
      members.set(key, this.#any(nesting + 1, so));
    });
    return members;
  }

  #requireShallow(nesting: number): void {
    if (nesting > MOST_NESTING) throw this.tooMany('levels of nesting', MOST_NESTING);
  }

  /** A number, true, false or null. */
  #value(): null | boolean | number {
    const scalar = this.#scalar();
    const python = this.#python ? PYTHON_NUMBERS.get(scalar) : undefined;
    if (python === undefined && !SCALAR.test(scalar)) throw this.#unexpected('a value');
    this.#at += scalar.length;
    return python ?? (JSON.parse(scalar) as null | boolean | number);
  }

  /** Nothing but white space may follow. */
  end(): void {
    this.#space();
    if (this.#at < this.#bytes.length) throw this.#error('more text after the end');
  }

  #space(): void {
    const bytes = this.#bytes;
    let at = this.#at;
    for (let byte = bytes[at]; byte === 0x20 || (byte >= 9 && byte <= 13); byte = bytes[++at]) {
      if (byte === 0x0b || byte === 0x0c) break;
    }
    this.#at = at;
  }

  /** What stands here up to the next bracket, comma or space; too long, it is no number that anyone writes. */
  #scalar(): string {
    const bytes = this.#bytes;
    const start = this.#at;
    const most = Math.min(bytes.length, start + LONGEST_SCALAR);
    let end = start;
    while (end < most && SCALAR_BYTES[bytes[end]]) end++;
    return bytes.toString('latin1', start, end);
  }

  #accept(byte: number): boolean {
    this.#space();
    if (this.#bytes[this.#at] !== byte) return false;
    this.#at++;
    return true;
  }

  #expect(byte: number, what = `'${String.fromCharCode(byte)}'`): void {
    if (!this.#accept(byte)) throw this.#unexpected(what);
  }

  /** For readers that keep all keys of an object by themselves. */
  twice(key: string): SyntaxError {
    return this.#error(`key ${quoted(key)} twice`);
  }

  /** As `twice`, of more things than there may be. */
  tooMany(things: string, most: number): SyntaxError {
    return this.#error(`more than ${most} ${things}`);
  }

  #unexpected(wanted: string, at = this.#at): SyntaxError {
    const [next] = this.#bytes.toString('utf8', at, at + 4);
    this.#at = at;
    return this.#error(`${next === undefined ? 'the end' : JSON.stringify(next)} where ${wanted} should be`);
  }

  #error(what: string): SyntaxError {
    return new SyntaxError(`${what}, at byte ${this.#at}`);
  }
}
