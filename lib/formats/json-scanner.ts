/**
 * Reads JSON where `JSON.parse` would hide what matters: keys that stand twice, numbers beyond 2^53, deep nesting.
 * The reader says what it expects and gets it or a SyntaxError; nothing becomes an object of which a key could be a setter.
 */

import { quoted } from './tensor-table';

/** Any value. Objects are Maps. */
export type JsonValue = null | boolean | number | string | JsonValue[] | Map<string, JsonValue>;

const MOST_NESTING = 128;
/** So many keys are found faster one by one than by a set. */
const FEW = 12;
const LONGEST_SCALAR = 400;
const SCALAR = /^(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)$/;
/** What Python's json module writes where JSON has nothing. */
const PYTHON_NUMBERS = new Map([
  ['NaN', Number.NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
]);

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const ZERO = 0x30;
const NINE = 0x39;

export class JsonScanner {
  readonly #text: string;
  readonly #python: boolean;
  #at = 0;

  /** @param python take NaN and Infinity too, as Python's reader does */
  constructor(text: string, { python = false } = {}) {
    this.#text = text;
    this.#python = python;
  }

  /** Reads an object; `member` must read the value of each key. Refuses a key that stands twice. */
  object(member: (key: string) => void): void {
    const few: string[] = [];
    let many: Set<string> | undefined;
    this.members(key => {
      if (many ? many.has(key) : few.includes(key)) throw this.#error(`key ${quoted(key)} twice`);
      if (many) many.add(key);
      else if (few.push(key) === FEW) many = new Set(few);
      member(key);
    });
  }

  /** As `object`, for where a key that stands twice does no harm: it costs no memory. */
  members(member: (key: string) => void): void {
    this.#expect('{');
    if (this.#take('}')) return;
    do {
      const key = this.string();
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
    const { start, end: at, escaped } = this.#stringBounds();
    const text = this.#text;
    if (!escaped) return text.slice(start, at);
    const string = JSON.parse(text.slice(start - 1, at + 1)) as string;
    if (/\p{Surrogate}/u.test(string)) throw this.#error('half of a surrogate pair');
    return string;
  }

  /** Where the string that stands here begins and ends, without its quotes. */
  #stringBounds(): { start: number; end: number; escaped: boolean } {
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
    return { start, end: at, escaped };
  }

  /** A whole number from 0 to 2^53 − 1, written as such. */
  wholeNumber(): number {
    this.#space();
    const text = this.#text;
    const start = this.#at;
    let at = start;
    let value = 0;
    for (let code = text.charCodeAt(at); code >= ZERO && code <= NINE; code = text.charCodeAt(++at)) {
      value = value * 10 + (code - ZERO);
      if (value > Number.MAX_SAFE_INTEGER) throw this.#error('a number of 2^53 or more');
    }
    if (at === start || (at > start + 1 && text.charCodeAt(start) === ZERO)) {
      throw this.#unexpected('a whole number');
    }
    this.#at = at;
    return value;
  }

  /** What kind of value comes next? */
  next(): 'object' | 'array' | 'string' | 'scalar' {
    this.#space();
    const next = this.#text[this.#at];
    if (next === '{') return 'object';
    if (next === '[') return 'array';
    return next === '"' ? 'string' : 'scalar';
  }

  /** Reads over any value. */
  skip(nesting = 0): void {
    this.#requireShallow(nesting);
    const kind = this.next();
    if (kind === 'object') this.object(() => this.skip(nesting + 1));
    else if (kind === 'array') this.array(() => this.skip(nesting + 1));
    else if (kind === 'string') this.string();
    else this.#value();
  }

  /** Any value. */
  value(nesting = 0): JsonValue {
    this.#requireShallow(nesting);
    const kind = this.next();
    if (kind === 'string') return this.string();
    if (kind === 'scalar') return this.#value();
    if (kind === 'array') {
      const elements: JsonValue[] = [];
      this.array(() => elements.push(this.value(nesting + 1)));
      return elements;
    }
    const members = new Map<string, JsonValue>();
    this.object(key => members.set(key, this.value(nesting + 1)));
    return members;
  }

  #requireShallow(nesting: number): void {
    if (nesting > MOST_NESTING) throw this.#error(`more than ${MOST_NESTING} levels of nesting`);
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
