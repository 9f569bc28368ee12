/** What the reader of JSON takes and keeps, against JSON.parse. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonScanner, type JsonValue } from '../../lib/formats/json-scanner';
import { mutated } from '../support/mutations';
import { Random } from '../support/random';

function skips(text: string): boolean {
  return works(
    () => new JsonScanner(text),
    scanner => scanner.skip(),
  );
}

function works(make: () => JsonScanner, read: (scanner: JsonScanner) => void): boolean {
  const scanner = make();
  try {
    read(scanner);
    scanner.end();
    return true;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return false;
  }
}

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Maps as objects. */
function plain(value: JsonValue): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (!(value instanceof Map)) return value;
  return Object.fromEntries([...value].map(([key, member]) => [key, plain(member)]));
}

describe('a value', () => {
  it('is read over where JSON.parse takes it, and only there', () => {
    const texts = fc.sample(fc.json({ maxDepth: 6, noUnicodeString: false }), { numRuns: 500, seed: 1 });
    const outcomes = [0, 0];
    for (let seed = 0; seed < 30_000; seed++) {
      const random = new Random(seed);
      const text =
        seed % 10 ? mutated(Buffer.from(random.pick(texts)), random).toString() : texts[seed % 500];
      if (text.includes('[[[[[[[[[[') || text.includes('{"a":{"a":{"a":') || text.length > 1e5) continue;
      const expected = parses(text);
      // Numbers that nobody writes are refused.
      if (expected && /[-+.\w]{400}/.test(text)) continue;
      outcomes[Number(expected)]++;
      expect(skips(text), text).toBe(expected);
    }
    expect(Math.min(...outcomes)).toBeGreaterThan(3000);
  });

  it('is what JSON.parse gives', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 6 }), text => {
        const scanner = new JsonScanner(text);
        const value = scanner.value();
        scanner.end();
        // A key of that name is one like others here.
        fc.pre(!text.includes('__proto__'));
        expect(plain(value)).toEqual(JSON.parse(text));
      }),
      { seed: 1 },
    );
  });

  it('may have escapes of every kind, and bytes of every length', () => {
    const text = '"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\uDE00 é€😀"';
    expect(new JsonScanner(text).string()).toBe(JSON.parse(text));
    expect(new JsonScanner(new Uint8Array(Buffer.from(`xx${text}`)).subarray(2)).string()).toBe(
      JSON.parse(text),
    );
    for (const wrong of ['"\\x"', '"\\u00g0"', '"\\u00"', '"\\', '"\\u', '"', '"\n"', '"\\"']) {
      expect(skips(wrong), wrong).toBe(false);
      expect(
        works(
          () => new JsonScanner(wrong),
          scanner => scanner.string(),
        ),
        wrong,
      ).toBe(false);
    }
  });
});

describe('limits', () => {
  const said = (read: () => unknown): string => {
    try {
      read();
    } catch (error) {
      return (error as SyntaxError).message;
    }
    return '';
  };

  it.each([
    ['arrays', '[', '0', ']'],
    ['objects', '{"a":', '0', '}'],
  ])('128 levels of %s', (_, open, inner, close) => {
    const nested = (levels: number) => open.repeat(levels) + inner + close.repeat(levels);
    for (const read of [
      (scanner: JsonScanner) => scanner.skip(),
      (scanner: JsonScanner) => void scanner.value(),
    ]) {
      expect(works(() => new JsonScanner(nested(128)), read)).toBe(true);
      expect(said(() => read(new JsonScanner(nested(130))))).toContain('more than 128 levels of nesting');
      expect(said(() => read(new JsonScanner(open.repeat(1e6))))).toContain('more than 128 levels');
    }
  });

  it('a hundred thousand values that are kept, and any number that is read over', () => {
    const text = (values: number) => `[${Array(values).fill('{}')}]`;
    expect((new JsonScanner(text(99_999)).value() as unknown[]).length).toBe(99_999);
    expect(said(() => new JsonScanner(text(100_000)).value())).toContain('more than 100000 values');
    expect(skips(text(300_000))).toBe(true);
  });

  it('a thousand keys of an object whose keys are known, each of a thousand bytes', () => {
    const text = (keys: number) => `{${Array.from({ length: keys }, (_, i) => `"${i}":0`)}}`;
    const object = (scanner: JsonScanner) => scanner.object(() => scanner.skip());
    expect(works(() => new JsonScanner(text(1000)), object)).toBe(true);
    expect(said(() => object(new JsonScanner(text(1001))))).toContain('more than 1000 keys');
    expect(works(() => new JsonScanner(`{"${'x'.repeat(1000)}":0}`), object)).toBe(true);
    expect(said(() => object(new JsonScanner(`{"${'x'.repeat(1001)}":0}`)))).toContain('1000 bytes');
    expect(said(() => object(new JsonScanner(`{"a":0,"b":0,"a":0}`)))).toContain('key "a" twice');
    const twice = text(500).replace(/}$/, ',"7":0}');
    expect(said(() => object(new JsonScanner(twice)))).toContain('key "7" twice');
    expect(said(() => new JsonScanner(twice).value())).toContain('key "7" twice');
  });
});
