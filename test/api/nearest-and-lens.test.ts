/** E as an index to search, and hidden states from the middle of a model. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { floats } from '../../lib/dtypes/half';
import type { FloatDtype, HeadOptions, Hidden } from '../../lib/types';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { narrow } from '../support/half';
import { headUnderTest, V } from '../support/heads';
import { expectClose, someNumbers } from '../support/numbers';

const SIZE = 1100;
const D = 37;
/** Does nothing to a similarity. */
const MODEL: Partial<HeadOptions> = { bias: someNumbers(SIZE, 9), logitScale: -2, softCap: 0.5 };

/** Ids by similarity, in float64. */
function search(query: ArrayLike<number>, e: Float32Array, metric: 'dot' | 'cosine') {
  const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => {
    let sum = 0;
    for (let k = 0; k < D; k++) sum += a[k] * b[k];
    return sum;
  };
  const similarities = Array.from({ length: e.length / D }, (_, id) => {
    const row = e.subarray(id * D, (id + 1) * D);
    const lengths = metric === 'dot' ? 1 : Math.sqrt(dot(row, row) * dot(query, query));
    return lengths === 0 ? 0 : dot(query, row) / lengths;
  });
  const ids = similarities.map((_, id) => id).sort((a, b) => similarities[b] - similarities[a] || a - b);
  return { ids, similarities };
}

describe.each(backends)('nearest: %s', backend => {
  const make = (
    weight: Float32Array | Uint16Array,
    dtype: FloatDtype,
    options: Partial<HeadOptions> = MODEL,
  ) =>
    LMHead.from(weight, {
      vocabSize: SIZE,
      hiddenSize: D,
      backend,
      dtype: dtype === 'f32' ? undefined : dtype,
      ...options,
    });

  describe.each<FloatDtype>(['f32', 'f16', 'bf16'])('%s', dtype => {
    const weight = narrow(
      someNumbers(SIZE * D, 3).map((x, i) => x * (1 + (Math.floor(i / D) % 7))),
      dtype,
    );
    const e = floats(weight, dtype);
    const head = make(weight, dtype);
    const query = someNumbers(D, 12);

    it.each(['dot', 'cosine'] as const)('%s: the best of all rows, as float64 has it', async metric => {
      const wanted = search(query, e, metric);
      const k = 50;
      const { ids, similarities } = head.nearestSync(query, k, { metric });
      expect([...ids]).toEqual(wanted.ids.slice(0, k));
      expectClose(
        similarities,
        wanted.ids.slice(0, k).map(id => wanted.similarities[id]),
        { absolute: 1e-5, relative: 1e-5 },
      );
      expect(await head.nearest(query, k, { metric })).toEqual({ ids, similarities });
    });

    it('an id stands for its row', () => {
      const row = e.subarray(70 * D, 71 * D);
      for (const metric of ['dot', 'cosine'] as const) {
        const byId = head.nearestSync(70, 9, { metric });
        expect(byId).toEqual(head.nearestSync(row.slice(), 9, { metric }));
        expect(head.nearestSync(70n, 9, { metric })).toEqual(byId);
      }
      const { ids, similarities } = head.nearestSync(70, 1, { metric: 'cosine' });
      expect(ids[0]).toBe(70);
      expect(similarities[0]).toBeCloseTo(1, 6);
      expect(similarities[0]).toBeLessThanOrEqual(1);
    });

    it('among some rows only', () => {
      const rows = [900, 3, 4, 5, 70, 1099];
      for (const metric of ['dot', 'cosine'] as const) {
        const wanted = search(query, e, metric).ids.filter(id => rows.includes(id));
        expect([...head.nearestSync(query, rows.length, { metric, rows }).ids]).toEqual(wanted);
      }
    });
  });

  it('dot products are logits without bias, scale and cap: the same bits', () => {
    const weight = someNumbers(SIZE * D, 3);
    const bare = make(weight, 'f32', {});
    const query = someNumbers(D, 12);
    const top = bare.topKSync(query, 20);
    const { ids, similarities } = make(weight, 'f32').nearestSync(query, 20);
    expect(ids).toEqual(top.ids);
    expect(similarities).toEqual(top.logits);
  });

  it('zeros have cosine 0; tiny and huge rows have a direction', () => {
    const weight = someNumbers(SIZE * D, 3);
    weight.fill(0, 5 * D, 6 * D);
    const direction = someNumbers(D, 12);
    weight.set(
      direction.map(x => x * 1e-42),
      6 * D,
    );
    weight.set(
      direction.map(x => x * 1e18),
      7 * D,
    );
    weight.set(
      direction.map(x => -x),
      8 * D,
    );
    const head = make(weight, 'f32');
    const all = head.nearestSync(direction, SIZE, { metric: 'cosine' });
    const cosine = (id: number) => all.similarities[all.ids.indexOf(id)];
    expect(cosine(5)).toBe(0);
    expect(cosine(6)).toBeGreaterThan(0.9); // a few bits are left of it, unless the CPU flushes them
    expect(cosine(7)).toBeCloseTo(1, 6);
    expect(cosine(8)).toBeCloseTo(-1, 6);
    expect(all.ids[SIZE - 1]).toBe(8);
    const none = head.nearestSync(5, 3, { metric: 'cosine' });
    expect([...none.ids]).toEqual([0, 1, 2]);
    expect([...none.similarities].map(Math.abs)).toEqual([0, 0, 0]);
  });

  it('padding is never found; 16-bit vectors and tensors are taken', () => {
    const weight = someNumbers(SIZE * D, 3);
    weight.fill(9, 1000 * D);
    const head = make(weight, 'f32', { validVocabSize: 1000 });
    const ones = new Float32Array(D).fill(1);
    const { ids } = head.nearestSync(ones, 1000, { metric: 'cosine' });
    expect(Math.max(...ids)).toBe(999);
    const bits = narrow(ones, 'bf16') as Uint16Array;
    expect(head.nearestSync(bits, 1000, { metric: 'cosine', hiddenDtype: 'bf16' }).ids).toEqual(ids);
    const tensor = { data: ones, type: 'float32', dims: [1, D] };
    expect(head.nearestSync(tensor, 1000, { metric: 'cosine' }).ids).toEqual(ids);
  });

  it('a row with NaN is refused, and named', () => {
    const weight = someNumbers(SIZE * D, 3);
    weight[300 * D] = NaN;
    for (const metric of ['dot', 'cosine'] as const)
      throwsKind(() => make(weight, 'f32').nearestSync(1, 1, { metric }), 'NAN', 'id 300');
  });

  it('errors', async () => {
    const { head, hidden, worksOn } = headUnderTest(backend);
    const cases: [unknown[], 'SHAPE' | 'RANGE' | 'ARGUMENT' | 'DTYPE', string][] = [
      [[hidden, 1], 'SHAPE', 'idOrVector: got 2 vectors; want an id, or one vector of 7'],
      [[hidden.subarray(0, 6), 1], 'SHAPE', 'idOrVector: got 6 elements'],
      [[V, 1], 'RANGE', `idOrVector[0]: got ${V}; want an id below ${V}`],
      [[0.5, 1], 'RANGE', 'idOrVector[0]: got 0.5'],
      [['1', 1], 'ARGUMENT', 'idOrVector: got "1"; want an id, or a vector of 7 elements'],
      [[1], 'ARGUMENT', 'k: got undefined; want an integer from 1 to 13'],
      [[1, 0], 'RANGE', 'k: got 0; want an integer from 1 to 13'],
      [[1, 3, { rows: [1, 2] }], 'RANGE', 'k: got 3; want an integer from 1 to 2'],
      [[1, 1, { metric: 'euclid' }], 'RANGE', "metric: got \"euclid\"; want 'dot' or 'cosine'"],
      [[1, 1, 5], 'ARGUMENT', 'options: got 5'],
      [[1, 1, { measure: 'dot' }], 'ARGUMENT', 'measure: got an option that nearest'],
      [[1, 1, 'cosine'], 'ARGUMENT', 'options: got "cosine"; want { metric: \'cosine\' }'],
      [[1, 1, 'dot', { rows: [1] }], 'ARGUMENT', 'options: got "dot"; want { metric: \'dot\' }'],
      [
        [1, 1, undefined, { rows: [1] }],
        'ARGUMENT',
        'arguments: got 4; want nearest(idOrVector, k, { metric, rows })',
      ],
    ];
    for (const [args, kind, words] of cases) {
      const query = args as Parameters<LMHead['nearestSync']>;
      throwsKind(() => head.nearestSync(...query), kind, words);
      await rejectsKind(() => head.nearest(...query), kind, words);
      worksOn();
    }
    head.close();
    throwsKind(() => head.nearestSync(1, 1), 'CLOSED');
  });
});

describe.each(backends)('lens: %s', backend => {
  const layers = someNumbers(4 * D, 8);
  const norm = { type: 'rmsnorm', weight: someNumbers(D, 4), eps: 1e-6, offset: 1 } as const;
  const head = LMHead.from(someNumbers(SIZE * D, 3), { vocabSize: SIZE, hiddenSize: D, backend, norm });

  it('is topK of normalized states, a row per layer', async () => {
    const wanted = head.topKSync(layers, 5, { norm: true });
    expect(head.lensSync(layers, 5)).toEqual(wanted);
    expect(await head.lens(layers, 5)).toEqual(wanted);
    expect(wanted.n).toBe(4);
    expect(wanted.ids).not.toEqual(head.topKSync(layers, 5).ids);
    const rows = [3, 500, 44];
    expect(head.lensSync(layers, 2, { rows, temperature: 2 })).toEqual(
      head.topKSync(layers, 2, { rows, temperature: 2, norm: true }),
    );
  });

  it('needs a norm', async () => {
    const { head: bare, hidden } = headUnderTest(backend);
    throwsKind(() => bare.lensSync(hidden, 1), 'RANGE', 'norm');
    await rejectsKind(() => bare.lens(hidden as Hidden, 1), 'RANGE', 'norm');
  });

  describe('with translators', () => {
    const map = (seed: number, residual?: boolean) => ({
      weight: someNumbers(D * D, seed),
      bias: someNumbers(D, seed + 1),
      residual,
    });
    const translators = [map(20), undefined, map(22, true), null];
    const apply = (hidden: Float32Array, n: number) => {
      const out = hidden.slice();
      for (let row = 0; row < 4 * n; row++) {
        const own = translators[Math.floor(row / n)];
        if (!own) continue;
        for (let i = 0; i < D; i++) {
          let sum = 0;
          for (let k = 0; k < D; k++) sum += own.weight[i * D + k] * hidden[row * D + k];
          sum += own.bias[i];
          out[row * D + i] = own.residual ? hidden[row * D + i] + sum : sum;
        }
      }
      return out;
    };

    it('is the lens of translated states, to the bit', async () => {
      const wanted = head.topKSync(apply(layers, 1), 5, { norm: true });
      expect(head.lensSync(layers, 5, { translators })).toEqual(wanted);
      expect(await head.lens(layers, 5, { translators })).toEqual(wanted);
      expect(wanted.logits).not.toEqual(head.lensSync(layers, 5).logits);
      const states = someNumbers(4 * 3 * D, 30);
      const options = { translators, rows: [7, 8, 9], temperature: 2 };
      expect(head.lensSync(states, 2, options)).toEqual(
        head.topKSync(apply(states, 3), 2, { rows: [7, 8, 9], temperature: 2, norm: true }),
      );
      const halves = Uint16Array.from(layers, x => new Uint32Array(Float32Array.of(x).buffer)[0] >>> 16);
      const rounded = Float32Array.from(
        halves,
        bits => new Float32Array(Uint32Array.of(bits << 16).buffer)[0],
      );
      expect(head.lensSync(halves, 2, { translators, hiddenDtype: 'bf16' })).toEqual(
        head.lensSync(rounded, 2, { translators }),
      );
    });

    it('refuses what is no list of them', async () => {
      const wrong: [unknown, 'ARGUMENT' | 'SHAPE' | 'DTYPE', string][] = [
        [5, 'ARGUMENT', 'translators: got 5; want an array, one per layer'],
        [[], 'SHAPE', 'translators: got 0 for 4 hidden states; want one per layer'],
        [[null, null, null], 'SHAPE', 'translators: got 3 for 4 hidden states'],
        [[{}], 'ARGUMENT', 'translators[0].weight: got undefined; want a Float32Array'],
        [[null, 7], 'ARGUMENT', 'translators[1]: got 7'],
        [
          [{ weight: new Float32Array(D) }],
          'SHAPE',
          `translators[0].weight: got ${D} elements; want hiddenSize² = ${D * D}`,
        ],
        [
          [{ ...map(1), bias: new Float32Array(1) }],
          'SHAPE',
          `translators[0].bias: got 1 elements; want hiddenSize = ${D}`,
        ],
        [[{ ...map(1), residual: 1 }], 'ARGUMENT', 'translators[0].residual: got 1'],
        [
          [{ ...map(1), scale: 1 }],
          'ARGUMENT',
          'scale: got an option that translators does not take; want one of weight, bias, residual',
        ],
        [[{ weight: new Float64Array(D * D) }], 'DTYPE', 'translators[0].weight: got a Float64Array'],
      ];
      for (const [translators, kind, words] of wrong) {
        throwsKind(() => head.lensSync(layers, 1, { translators } as object), kind, words);
        await rejectsKind(() => head.lens(layers, 1, { translators } as object), kind, words);
      }
    });
  });
});
