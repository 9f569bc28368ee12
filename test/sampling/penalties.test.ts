/** What the tokens so far do to the next one's logits, against definitions that look at every sequence there is. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Patches } from '../../lib/arguments/patches';
import { repeatedNgramEnds, repeatLengths } from '../../lib/arguments/penalties';
import { PatchValue } from '../../lib/backend/backend';

/** Few different tokens, so that sequences repeat. */
const token = fc.nat(3);
const tokens = fc.array(token, { maxLength: 40 }).map(list => Uint32Array.from(list));
const breakers = fc.array(fc.array(fc.nat(9), { minLength: 1, maxLength: 3 }), { maxLength: 3 });

const endsWith = (list: readonly number[], end: readonly number[]) =>
  end.length <= list.length && end.every((each, i) => list[list.length - end.length + i] === each);

/** The tokens after the last breaker that is there as a whole. */
function sinceBreaker(list: readonly number[], all: readonly (readonly number[])[]): readonly number[] {
  for (let end = list.length; end > 0; end--) {
    const before = list.slice(0, end);
    if (all.some(breaker => endsWith(before, breaker))) return list.slice(end);
  }
  return list;
}

describe('repeated sequences (DRY)', () => {
  /** For each token, the longest end of the list that has stood before that token somewhere. */
  function definition(list: readonly number[], all: readonly (readonly number[])[], shortest: number) {
    const recent = sinceBreaker(list, all);
    const lengths = new Map<number, number>();
    list.forEach((next, at) => {
      if (all.some(breaker => breaker.length === 1 && breaker[0] === next)) return;
      for (let length = shortest; length <= recent.length; length++) {
        if (!endsWith(list.slice(0, at), recent.slice(recent.length - length))) continue;
        lengths.set(next, Math.max(length, lengths.get(next) ?? 0));
      }
    });
    return lengths;
  }

  it('are as long as their definition says', () => {
    let found = 0;
    fc.assert(
      fc.property(tokens, breakers, fc.integer({ min: 1, max: 4 }), (list, all, shortest) => {
        const lengths = repeatLengths(list, all, shortest);
        expect(lengths).toEqual(definition([...list], all, shortest));
        found += lengths.size;
      }),
      { numRuns: 2000, seed: 1 },
    );
    expect(found).toBeGreaterThan(500); // and the definition was not always nothing
  });

  it('of one token again and again overlap', () => {
    expect(repeatLengths(Uint32Array.of(5, 5, 5, 5), [], 1)).toEqual(new Map([[5, 3]]));
  });

  it('reach back to a breaker, and not across it', () => {
    const list = Uint32Array.of(1, 2, 3, 9, 1, 2);
    expect(repeatLengths(list, [], 1)).toEqual(new Map([[3, 2]]));
    expect(repeatLengths(list, [[1]], 1)).toEqual(new Map([[3, 1]]));
    expect(repeatLengths(list, [[1, 2]], 1)).toEqual(new Map());
    expect(repeatLengths(list, [[9]], 1)).toEqual(new Map([[3, 2]]));
    expect(repeatLengths(list, [[3]], 1)).toEqual(new Map()); // never an extension itself
    expect(repeatLengths(list, [[9, 2]], 2)).toEqual(new Map([[3, 2]])); // not there as a whole
  });
});

describe('n-grams', () => {
  /** Tokens which the list cannot go on with, or an n-gram would be there twice. */
  function definition(list: readonly number[], n: number): Set<number> {
    const grams = (of: readonly number[]) => of.slice(n - 1).map((_, i) => of.slice(i, i + n).join());
    const known = new Set(grams(list));
    return new Set(list.filter(next => list.length >= n - 1 && known.has([...list, next].slice(-n).join())));
  }

  it('end where one would be there twice', () => {
    let found = 0;
    fc.assert(
      fc.property(tokens, fc.integer({ min: 1, max: 5 }), (list, n) => {
        const ends = repeatedNgramEnds(list, n);
        expect([...ends].sort()).toEqual([...definition([...list], n)].sort());
        found += ends.size;
      }),
      { numRuns: 2000, seed: 1 },
    );
    expect(found).toBeGreaterThan(500);
  });

  it('are none of what is shorter', () => {
    expect(repeatedNgramEnds(Uint32Array.of(1, 1), 4)).toEqual(new Set());
    expect(repeatedNgramEnds(Uint32Array.of(), 1)).toEqual(new Set());
  });
});

describe('patches', () => {
  const numbers = fc.tuple(...[0, 1, 2].map(() => fc.integer({ min: 1, max: 9 }).map(x => x / 8)));
  const biases = fc.array(fc.tuple(fc.nat(11), fc.integer({ min: -9, max: 9 })), { maxLength: 40 });

  it('are the sums of what is said of an id, ids ascending', () => {
    fc.assert(
      fc.property(
        tokens,
        numbers,
        biases,
        tokens,
        (list, [repetition, frequency, presence], added, banned) => {
          const patches = new Patches(list, repetition, frequency, presence);
          for (const [id, bias] of added) patches.add(id, bias);
          for (const [id, bias] of added) patches.subtract(id, 2 * bias);
          patches.ban(banned);
          const ids = new Uint32Array(patches.size);
          const values = new Float64Array(patches.size * PatchValue.count);
          patches.write(ids, values);
          expect([...ids]).toEqual(
            [...new Set([...list, ...added.map(([id]) => id), ...banned])].sort((a, b) => a - b),
          );
          ids.forEach((id, i) => {
            const count = list.filter(token => token === id).length;
            const bias = added.reduce((sum, [other, x]) => (other === id ? sum + x : sum), 0);
            const wanted = {
              [PatchValue.add]: banned.includes(id) ? -Infinity : bias,
              [PatchValue.penalty]: count > 0 && (repetition !== 1 || frequency || presence) ? repetition : 1,
              [PatchValue.subtract]: (count > 0 ? count * frequency + presence : 0) + 2 * bias,
            };
            const got = values.subarray(i * PatchValue.count, (i + 1) * PatchValue.count);
            expect({ ...got }).toEqual(wanted);
          });
        },
      ),
      { numRuns: 1000, seed: 1 },
    );
  });

  it('are none of a history without penalties', () => {
    expect(new Patches(Uint32Array.of(3, 4), 1, 0, 0).size).toBe(0);
  });
});
