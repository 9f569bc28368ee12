/** What the tokens so far say of the next one, against definitions that look at every sequence there is. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SampleOptions } from '../../lib';
import { adjustmentsOf } from '../../lib/arguments/adjustments';
import { ascendingOrder } from '../../lib/arguments/ascending-ids';
import { Breakers } from '../../lib/arguments/breakers';
import { Patches } from '../../lib/arguments/patches';
import { dryPenalty, TokenHistory } from '../../lib/arguments/penalties';
import { type Adjustments, PatchValue } from '../../lib/backend/backend';
import { adjustedRow } from '../../lib/reference/adjust';

/** Few different tokens, so that sequences repeat. */
const token = fc.nat(3);
const tokens = (maxLength = 40) => fc.array(token, { maxLength });
const breakers = fc.array(fc.array(fc.nat(4), { minLength: 1, maxLength: 4 }), { maxLength: 4 });
const window = fc.oneof(fc.nat(12), fc.constant(Infinity));

const endsWith = (list: readonly number[], end: readonly number[]) =>
  end.length <= list.length && end.every((each, i) => list[list.length - end.length + i] === each);

/** The latest of a list; -0 would be all. */
const latest = <T>(list: readonly T[], count: number) => list.slice(Math.max(list.length - count, 0));

/** The tokens after the last breaker that is there as a whole. */
function sinceBreaker(list: readonly number[], all: readonly (readonly number[])[]): readonly number[] {
  for (let end = list.length; end > 0; end--) {
    const before = list.slice(0, end);
    if (all.some(breaker => endsWith(before, breaker))) return list.slice(end);
  }
  return list;
}

/** A history that has got its tokens bit by bit, and was asked before each bit. */
function grown(list: readonly number[], cuts: readonly number[], ask: (history: TokenHistory) => unknown) {
  const places = [...new Set(cuts.map(cut => cut % (list.length + 1)))].sort((a, b) => a - b);
  const history = new TokenHistory(Uint32Array.from(list.slice(0, places[0])));
  for (let at = places[0] ?? list.length; at < list.length; at++) {
    if (places.includes(at)) ask(history);
    history.push(list[at]);
  }
  return history;
}
const cuts = fc.array(fc.nat(), { maxLength: 12 });

describe('repeated sequences', () => {
  /** For each token, the longest end of the list that has stood before that token somewhere. */
  function definition(list: readonly number[], all: readonly (readonly number[])[]) {
    const recent = sinceBreaker(list, all);
    const lengths = new Map<number, number>();
    list.forEach((next, at) => {
      for (let length = 1; length <= recent.length; length++) {
        if (!endsWith(list.slice(0, at), recent.slice(recent.length - length))) continue;
        lengths.set(next, Math.max(length, lengths.get(next) ?? 0));
      }
    });
    return lengths;
  }
  const mapOf = ({ ids, lengths }: { ids: Uint32Array; lengths: Uint32Array }) => {
    expect([...ids]).toEqual([...new Set(ids)].sort((a, b) => a - b));
    return new Map(Array.from(ids, (id, i) => [id, lengths[i]]));
  };

  it('are as long as their definition says, also when tokens come one by one', () => {
    let found = 0;
    fc.assert(
      fc.property(tokens(), breakers, window, cuts, (list, all, size, places) => {
        const automaton = new Breakers(all.map(each => Uint32Array.from(each)));
        const ask = (history: TokenHistory) => [
          history.extensions(),
          history.recentExtensions(size, automaton),
        ];
        const wanted = [definition(list, []), definition(latest(list, size), all)];
        for (const history of [new TokenHistory(Uint32Array.from(list)), grown(list, places, ask)])
          expect(ask(history).map(mapOf)).toEqual(wanted);
        found += wanted[1].size;
        for (let id = 0; id < 6; id++)
          expect(automaton.has(id)).toBe(all.some(([first, ...more]) => first === id && more.length === 0));
      }),
      { numRuns: 3000, seed: 1 },
    );
    expect(found).toBeGreaterThan(500); // and the definition was not always nothing
  });

  it('are found in a long history, whichever way it grows', () => {
    const list = Array.from({ length: 3000 }, (_, i) => (((i * i) % 101) + (i % 7)) % 5);
    const wanted = mapOf(new TokenHistory(Uint32Array.from(list)).extensions());
    for (const step of [1, 2, 7, 31, 40, 200, 2900]) {
      const history = new TokenHistory(Uint32Array.from(list.slice(0, 100)));
      for (let i = 100; i < list.length; i++) {
        if (i % step === 0) history.extensions();
        history.push(list[i]);
      }
      expect(mapOf(history.extensions())).toEqual(wanted);
    }
    expect(wanted.size).toBeGreaterThan(1);
  });

  it('of one token again and again overlap', () => {
    const history = new TokenHistory(Uint32Array.of(5, 5, 5, 5));
    expect(mapOf(history.extensions())).toEqual(new Map([[5, 3]]));
  });

  it('reach back to a breaker, and not across it', () => {
    const recent = (list: number[], ...all: number[][]) =>
      mapOf(
        new TokenHistory(Uint32Array.from(list)).recentExtensions(
          Infinity,
          new Breakers(all.map(each => Uint32Array.from(each))),
        ),
      );
    const list = [1, 2, 3, 9, 1, 2];
    expect(recent(list)).toEqual(new Map([[3, 2]]));
    expect(recent(list, [1])).toEqual(new Map([[3, 1]]));
    expect(recent(list, [1, 2])).toEqual(new Map());
    expect(recent(list, [9])).toEqual(new Map([[3, 2]]));
    expect(recent(list, [9, 2])).toEqual(new Map([[3, 2]])); // not there as a whole
    expect(recent(list, [3, 9, 1, 2], [9, 1])).toEqual(new Map()); // one in another
    expect(recent(list, [4, 3, 9, 1, 2], [9, 1])).toEqual(new Map([[3, 1]]));
  });
});

describe('breakers', () => {
  it('end where one of their sequences does', () => {
    const sequences = fc.array(fc.array(fc.nat(2), { minLength: 1, maxLength: 6 }), { maxLength: 12 });
    fc.assert(
      fc.property(sequences, fc.array(fc.nat(2), { maxLength: 40 }), (all, list) => {
        const automaton = new Breakers(all.map(each => Uint32Array.from(each)));
        let state = 0;
        list.forEach((next, i) => {
          state = automaton.next(state, next);
          const ending = all.filter(each => endsWith(list.slice(0, i + 1), each)).map(each => each.length);
          expect(automaton.endingAt(state)).toBe(ending.length === 0 ? 0 : Math.min(...ending));
        });
      }),
      { numRuns: 1000, seed: 1 },
    );
  });

  it('may be tokens of any size, and alike in their lowest bits', () => {
    const automaton = new Breakers([Uint32Array.of(2 ** 32 - 2), Uint32Array.of(65536, 1)]);
    expect(automaton.has(2 ** 32 - 2)).toBe(true);
    expect(automaton.has(65534)).toBe(false);
    expect(automaton.endingAt(automaton.next(automaton.next(0, 0), 1))).toBe(0);
    expect(automaton.endingAt(automaton.next(automaton.next(0, 65536), 1))).toBe(2);
  });
});

describe('counts', () => {
  it('are those of the window, also when it slides on', () => {
    fc.assert(
      fc.property(tokens(), window, fc.nat(20), cuts, fc.boolean(), (few, size, prompt, places, apart) => {
        const list = apart ? few.map(id => id * 70_001) : few;
        const ask = (history: TokenHistory) => history.counts(size, prompt);
        const inWindow = latest([...list.entries()], size);
        const ids = [...new Set(inWindow.map(([, id]) => id))].sort((a, b) => a - b);
        const counts = ids.map(id => inWindow.filter(([at, each]) => each === id && at >= prompt).length);
        for (const history of [new TokenHistory(Uint32Array.from(list)), grown(list, places, ask)]) {
          expect([...ask(history).ids]).toEqual(ids);
          expect([...ask(history).counts]).toEqual(counts);
          expect([...history.distinct()]).toEqual([...new Set(list)].sort((a, b) => a - b));
          expect([...history.toArray()]).toEqual(list);
        }
      }),
      { numRuns: 2000, seed: 1 },
    );
  });

  it('rest on an order that any ids have', () => {
    const ids = fc.array(fc.oneof(fc.nat(9), fc.nat(5000), fc.integer({ min: 0, max: 2 ** 32 - 1 })), {
      maxLength: 60,
    });
    const long = Array.from({ length: 5000 }, (_, i) => (Math.imul(i, 0x9e3779b1) >>> (i % 3)) >>> 0);
    fc.assert(
      fc.property(fc.oneof(ids, fc.constant(long)), list => {
        const wanted = list.map((_, i) => i).sort((a, b) => list[a] - list[b] || a - b);
        expect([...ascendingOrder(Uint32Array.from(list))]).toEqual(wanted);
      }),
      { numRuns: 500, seed: 1 },
    );
  });
});

describe("DRY's penalty", () => {
  const largest = (2 - 2 ** -23) * 2 ** 127;

  it('grows with the repetition, to a power that llama.cpp computes in float32', () => {
    // By src/llama-sampler.cpp: int(88.7228391f / logf(base)) for bases above 1.000001f.
    for (const [base, exponent] of [
      [1.75, 158],
      [2, 128],
      [1.5, 218],
      [10, 38],
      [1.1, 930],
      [3.4e38, 1],
    ]) {
      const most = Math.min(base ** exponent, largest);
      expect(dryPenalty(1, base, exponent)).toBe(most);
      expect(dryPenalty(1, base, exponent + 1)).toBe(most);
      expect(dryPenalty(1e-9, base, 1e9)).toBe(1e-9 * base ** exponent);
      expect(dryPenalty(1, base, exponent - 1)).toBe(base ** (exponent - 1));
    }
  });

  it('has no such limit where llama.cpp has none, and is finite nevertheless', () => {
    expect(dryPenalty(2, 1, 1e6)).toBe(2);
    expect(dryPenalty(2, 1.0000005, 1e6)).toBe(2 * 1.0000005 ** 1e6);
    for (const base of [1e39, 1e300, Number.MAX_VALUE]) {
      expect(dryPenalty(2, base, 0)).toBe(2);
      expect(dryPenalty(2, base, 1)).toBe(largest);
      expect(dryPenalty(2, base, 5)).toBe(largest);
    }
    expect(dryPenalty(1e300, 2, 0)).toBe(largest);
  });
});

describe('patches', () => {
  it('are the last word on an id, unless it is banned', () => {
    const entries = fc.array(fc.tuple(fc.nat(20), fc.boolean(), fc.nat(9)), { maxLength: 300 });
    fc.assert(
      fc.property(entries, list => {
        const patches = new Patches();
        for (const [id, bans, x] of list) {
          if (bans) patches.ban([id]);
          else patches.set(id, x, x + 1, x + 2);
        }
        const { ids, values } = patches.list();
        expect([...ids]).toEqual([...new Set(list.map(([id]) => id))].sort((a, b) => a - b));
        ids.forEach((id, i) => {
          const its = list.filter(([other]) => other === id);
          const [add, penalty, subtract] = values.subarray(i * PatchValue.count, (i + 1) * PatchValue.count);
          if (its.some(([, bans]) => bans)) {
            expect(add).toBe(-Infinity);
          } else {
            const x = its.at(-1)![2];
            expect([add, penalty, subtract]).toEqual([x, x + 1, x + 2]);
          }
        });
      }),
      { numRuns: 500, seed: 1 },
    );
  });
});

/** How many ids the tables hold. */
const sizeOf = ({ patches, biases, counted }: Adjustments) =>
  [patches, biases, counted].reduce((sum, lists) => sum + (lists?.ids.length ?? 0), 0);

describe('adjustments of many rows', () => {
  const V = 5000;
  const n = 200;
  const history = Uint32Array.from({ length: 20_000 }, (_, i) => (i * 7919) % V);
  const same = <T>(value: T) => new Array<T>(n).fill(value);
  const penalties = { repetitionPenalty: 1.1, frequencyPenalty: 0.1, presencePenalty: 0.2 };

  it.each<[string, SampleOptions]>([
    ['a number', { history, ...penalties, repetitionPenalty: same(1.1) }],
    ['a history that is the same one', { history: same(history), ...penalties }],
    ['a shortest text', { history, ...penalties, minLength: same(3), eosIds: [1] }],
    ['a multiplier', { history, ...penalties, dryMultiplier: same(0.8), dryBreakers: [1, [2, 3]] }],
    ['n-grams', { history, ...penalties, noRepeatNgramSize: same(3) }],
    ['the same prompt', { history, ...penalties, promptLength: same(100) }],
  ])('hold a history once where each has %s', (_, options) => {
    expect(sizeOf(adjustmentsOf(options, n, V, V)!)).toBeLessThan(V + 3 * n);
  });

  it('hold biases and bans once where each row has a number', () => {
    const bannedIds = history.subarray(0, 3000);
    const logitBias = new Map(Array.from({ length: 1000 }, (_, id) => [id, 1]));
    const options = { history: [1], repetitionPenalty: same(1.5), bannedIds, logitBias };
    expect(sizeOf(adjustmentsOf(options, n, V, V)!)).toBeLessThan(4002);
  });

  it('hold little more for the rows of a draft', () => {
    const draft = Uint32Array.from({ length: n }, (_, i) => (i * 37) % V);
    const options = { history, ...penalties, dryMultiplier: 1, noRepeatNgramSize: 4, bannedIds: [1, 2, 3] };
    const one = sizeOf(adjustmentsOf(options, 1, V, V)!);
    expect(sizeOf(adjustmentsOf(options, n, V, V, draft)!)).toBeLessThan(6 * one + 10 * n);
  });

  it('are those that each row has alone', () => {
    const few = 7;
    const numbers = (from: number, to: number) =>
      fc.option(
        fc.oneof(
          fc.integer({ min: from, max: to }),
          fc.array(fc.integer({ min: from, max: to }), { minLength: few, maxLength: few }),
        ),
        { nil: undefined },
      );
    const ids = fc.option(fc.array(fc.nat(9), { maxLength: 8 }), { nil: undefined });
    const options = fc.record({
      history: fc.oneof(tokens(30), fc.array(tokens(30), { minLength: few, maxLength: few })),
      repetitionPenalty: numbers(1, 3),
      frequencyPenalty: numbers(-1, 2),
      presencePenalty: numbers(0, 2),
      penaltyWindow: fc.option(fc.nat(20), { nil: undefined }),
      dryMultiplier: numbers(0, 2),
      dryBase: numbers(1, 3),
      dryAllowedLength: numbers(1, 3),
      dryWindow: fc.option(fc.nat(30), { nil: undefined }),
      dryBreakers: fc.option(breakers, { nil: undefined }),
      noRepeatNgramSize: numbers(0, 4),
      minLength: numbers(0, 30),
      length: numbers(0, 30),
      eosIds: fc.constant([7, 8]),
      bannedIds: fc.oneof(ids, fc.array(fc.array(fc.nat(9)), { minLength: few, maxLength: few })),
      logitBias: fc.option(fc.dictionary(fc.nat(9).map(String), fc.integer({ min: -5, max: 5 })), {
        nil: undefined,
      }),
    });
    const u = Float32Array.from({ length: 10 }, (_, i) => i - 4.5);
    const rowOf = (value: unknown, row: number) => {
      const isEach = Array.isArray(value) && value.length === few && typeof value[0] !== 'undefined';
      return isEach ? value[row] : value;
    };
    fc.assert(
      fc.property(options, given => {
        const together = adjustmentsOf(given as SampleOptions, few, 10, 10);
        for (let row = 0; row < few; row++) {
          const names = [
            'repetitionPenalty',
            'frequencyPenalty',
            'presencePenalty',
            'dryMultiplier',
            'dryBase',
            'dryAllowedLength',
            'noRepeatNgramSize',
            'minLength',
            'length',
          ] as const;
          const its = Object.fromEntries(names.map(name => [name, rowOf(given[name], row)]));
          const isRowWise = (list: unknown) => Array.isArray((list as unknown[] | undefined)?.[0]);
          const one = {
            ...given,
            ...its,
            history: isRowWise(given.history) ? (given.history as number[][])[row] : given.history,
            bannedIds: isRowWise(given.bannedIds) ? (given.bannedIds as number[][])[row] : given.bannedIds,
          } as SampleOptions;
          expect(adjustedRow(u, row, together)).toEqual(adjustedRow(u, 0, adjustmentsOf(one, 1, 10, 10)));
        }
      }),
      { numRuns: 1000, seed: 1 },
    );
  });
});
