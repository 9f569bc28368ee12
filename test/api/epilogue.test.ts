import { describe, expect, it } from 'vitest';
import type { HeadOptions } from '../../lib/types';
import { backends } from '../support/backends';
import { callSync, D, makeHead, methods, someHidden, someWeight, V } from '../support/heads';
import { expectNear, products, someBits } from '../support/matrices';
import { expectClose, someNumbers } from '../support/numbers';

const weight = someWeight();
const hidden = someHidden(2);
const dots = products(hidden, weight, D);
const bias = someNumbers(V, 21);
const biased = dots.map((u, i) => u + bias[i % V]);
const cap = (u: number, most: number) => most * Math.tanh(u / most);

const cases: [what: string, options: Partial<HeadOptions>, wanted: number[]][] = [
  ['nothing', {}, dots],
  ['bias', { bias }, biased],
  ['logitScale', { logitScale: 0.0625 }, dots.map(u => u * 0.0625)],
  ['logitScale below 0', { logitScale: -2 }, dots.map(u => u * -2)],
  ['logitScale 0', { logitScale: 0 }, dots.map(() => 0)],
  ['softCap', { softCap: 0.5 }, dots.map(u => cap(u, 0.5))],
  ['a wide softCap', { softCap: 30 }, dots.map(u => cap(u, 30))],
  ['bias, then scale', { bias, logitScale: 3 }, biased.map(u => u * 3)],
  ['scale, then cap', { bias, logitScale: 3, softCap: 1 }, biased.map(u => cap(u * 3, 1))],
  [
    'cap, then scale',
    { bias, logitScale: 3, softCap: 1, capOrder: 'cap-then-scale' },
    biased.map(u => cap(u, 1) * 3),
  ],
];

describe.each(backends)('between a dot product and a logit, %s', backend => {
  it.each(cases)('%s', (_, options, wanted) => {
    const head = makeHead(backend, options);
    const logits = head.logitsSync(hidden);
    expectNear(logits, wanted);
    // What follows from logits is made of these same logits.
    const best = [0, 1].map(row => {
      const u = [...logits.subarray(row * V, (row + 1) * V)];
      return u.indexOf(Math.max(...u));
    });
    expect([...head.argmaxSync(hidden)]).toEqual(best);
    expect([...head.topKSync(hidden, 1).logits]).toEqual(best.map((id, row) => logits[row * V + id]));
  });

  it('the largest softCap is reached where float32 ends, and the same below', () => {
    const [logitScale, softCap] = [3e38, 2 ** 123];
    const u = Float32Array.of(0.001, 0.01, 0.04, 0.1, 0.3, 1, 1.2, 40, -0.02, -40, 0); // times the scale, beyond it from 1.2 on
    const head = makeHead(backend, { vocabSize: u.length, hiddenSize: 1, softCap, logitScale }, u);
    const exact = Array.from(u, x => softCap * Math.tanh((x * Math.fround(logitScale)) / softCap));
    expectNear(
      head.logitsSync(Float32Array.of(1)).map(x => x / softCap),
      exact.map(x => x / softCap),
    );
  });

  it('softCap holds what would be large, ∞ too', () => {
    const capped = makeHead(
      backend,
      { vocabSize: 4, hiddenSize: 1, softCap: 30, bias: Float32Array.of(1e30, -1e30, Infinity, 0) },
      new Float32Array(4),
    );
    expect([...capped.logitsSync(Float32Array.of(0))]).toEqual([30, -30, 30, 0]);
    const scaled = makeHead(
      backend,
      { vocabSize: 3, hiddenSize: 1, softCap: 30, logitScale: 1e30, bias: Float32Array.of(3e38, -3e38, 0) },
      new Float32Array(3),
    );
    expect([...scaled.logitsSync(Float32Array.of(0))]).toEqual([30, -30, 0]);
  });

  it("layout 'dv' is the transpose, bit for bit", async () => {
    const turned = new Float32Array(V * D);
    for (let v = 0; v < V; v++) for (let k = 0; k < D; k++) turned[k * V + v] = weight[v * D + k];
    const head = makeHead(backend, { layout: 'dv', bias }, turned);
    const plain = makeHead(backend, { bias });
    for (const method of methods)
      expect(callSync[method](head, hidden)).toEqual(callSync[method](plain, hidden));
    expect(head.embed([3, V - 1])).toEqual(plain.embed([3, V - 1]));
    expect((await head.verify(hidden)).ok).toBe(true);
    expect(head.tied).toBe(true);
  });

  it.each(['f16', 'bf16'] as const)('%s weights, in both layouts', dtype => {
    const { bits, numbers } = someBits(V * D, dtype, 4);
    const head = makeHead(backend, { dtype }, bits);
    expect(head.dtype).toBe(dtype);
    expectNear(head.logitsSync(hidden), products(hidden, numbers, D));
    expect([...head.embed([V - 1, 0])]).toEqual([
      ...numbers.subarray((V - 1) * D),
      ...numbers.subarray(0, D),
    ]);
    const turned = new Uint16Array(V * D);
    for (let v = 0; v < V; v++) for (let k = 0; k < D; k++) turned[k * V + v] = bits[v * D + k];
    const other = makeHead(backend, { dtype, layout: 'dv' }, turned);
    expect(other.logitsSync(hidden)).toEqual(head.logitsSync(hidden));
    const half = someBits(2 * D, dtype, 6);
    const got = head.logitsSync(half.bits, { hiddenDtype: dtype });
    expectNear(got, products(half.numbers, numbers, D));
  });

  it('16-bit numbers at their extremes are what the standard says', () => {
    const halves: [bits: number, value: number][] = [
      [0x0001, 2 ** -24],
      [0x03ff, 1023 * 2 ** -24],
      [0x0400, 2 ** -14],
      [0x3c00, 1],
      [0x7bff, 65504],
      [0x8000, -0],
      [0xfc00, -Infinity],
      [0x7c00, Infinity],
      [0x7e00, Number.NaN],
    ];
    const brains: [bits: number, value: number][] = [
      [0x0080, 2 ** -126],
      [0x3f80, 1],
      [0x7f7f, 255 * 2 ** 120],
      [0x8000, -0],
      [0xff80, -Infinity],
      [0x7fc0, Number.NaN],
    ];
    for (const [dtype, list] of [
      ['f16', halves],
      ['bf16', brains],
    ] as const) {
      const bits = Uint16Array.from(list, ([pattern]) => pattern);
      const head = makeHead(backend, { dtype, vocabSize: list.length, hiddenSize: 1 }, bits);
      expect([...head.embed([...list.keys()])]).toEqual(list.map(([, value]) => value));
      expect([...head.logitsSync(Float32Array.of(1))]).toEqual(list.map(([, value]) => value + 0));
    }
  });

  it('inputEmbedding may be of another type than the weight', () => {
    const { bits, numbers } = someBits(V * D, 'f16', 4);
    const one = makeHead(backend, { dtype: 'f16', inputEmbedding: bits });
    expect([one.dtype, one.tied]).toEqual(['f32', false]);
    expect([...one.embed([2])]).toEqual([...numbers.subarray(2 * D, 3 * D)]);
    const two = makeHead(backend, { dtype: 'f16', inputEmbedding: weight }, bits);
    expect([two.dtype, two.tied]).toEqual(['f16', false]);
    expect([...two.embed([2])]).toEqual([...weight.subarray(2 * D, 3 * D)]);
  });
});

describe.each(backends)('validVocabSize, %s', backend => {
  const valid = V - 4;
  // The padding would win everywhere.
  const padded = weight.slice().fill(50, valid * D);
  const positive = hidden.map(Math.abs);
  const head = makeHead(backend, { validVocabSize: valid, vocabSize: V }, padded);
  const cut = makeHead(backend, { vocabSize: valid }, padded.slice(0, valid * D));

  it('makes the rest −∞ in logits and logProbs, 0 in probs', () => {
    for (const method of ['logits', 'logProbs', 'probs'] as const) {
      const rows = callSync[method](head, positive) as Float32Array;
      const wanted = callSync[method](cut, positive) as Float32Array;
      for (const row of [0, 1]) {
        expect(rows.slice(row * V, row * V + valid)).toEqual(wanted.slice(row * valid, (row + 1) * valid));
        const rest = [...rows.subarray(row * V + valid, (row + 1) * V)];
        expect(rest).toEqual(Array(4).fill(method === 'probs' ? 0 : -Infinity));
      }
    }
  });

  it('leaves the rest out of every choice and every sum', () => {
    const draw = { seed: 3, temperature: 5, topP: 0.99 };
    expect(head.argmaxSync(positive)).toEqual(cut.argmaxSync(positive));
    expect(head.topKSync(positive, valid)).toEqual(cut.topKSync(positive, valid));
    expect(head.sampleSync(positive, draw)).toEqual(cut.sampleSync(positive, draw));
    const many = new Float32Array(300 * D).fill(0.001);
    expect(Math.max(...head.sampleSync(many, { seed: 1 }).ids)).toBeLessThan(valid);
    const score = { entropy: true };
    expect(head.scoreSync(positive, [0, valid - 1], score)).toEqual(
      cut.scoreSync(positive, [0, valid - 1], score),
    );
    expect(head.runSync(positive, {})).toEqual(cut.runSync(positive, {}));
  });

  it('does so in a row of only −∞ or NaN as well', () => {
    const bias = new Float32Array(V).fill(-Infinity, 0, valid);
    const empty = makeHead(backend, { validVocabSize: valid, bias });
    const logProbs = [...empty.logProbsSync(hidden.subarray(0, D))];
    expect(logProbs).toEqual([...Array(valid).fill(Number.NaN), ...Array(4).fill(-Infinity)]);
    const sick = new Float32Array(D).fill(Number.NaN);
    expect([...empty.probsSync(sick)]).toEqual([...Array(valid).fill(Number.NaN), 0, 0, 0, 0]);
  });

  it('of 1 leaves one choice', () => {
    const one = makeHead(backend, { validVocabSize: 1 });
    expect([...one.probsSync(hidden.subarray(0, D))]).toEqual([1, ...Array(V - 1).fill(0)]);
    expect([...one.sampleSync(hidden).ids]).toEqual([0, 0]);
  });
});

describe.each(backends)('the final norm, %s', backend => {
  const gain = someNumbers(D, 31);
  const shift = someNumbers(D, 32);
  const rows = [0, 1].map(row => Array.from(hidden.subarray(row * D, (row + 1) * D)));
  const mean = (list: number[]) => list.reduce((sum, x) => sum + x, 0) / list.length;
  const layernorm = (h: number[], eps: number) => {
    const m = mean(h);
    const deviation = Math.sqrt(mean(h.map(x => (x - m) ** 2)) + eps);
    return h.map(x => (x - m) / deviation);
  };
  const rmsnorm = (h: number[], eps: number) => {
    const root = Math.sqrt(mean(h.map(x => x * x)) + eps);
    return h.map(x => x / root);
  };
  const norms: [what: string, norm: HeadOptions['norm'], (h: number[]) => number[]][] = [
    [
      'layernorm',
      { type: 'layernorm', weight: gain, eps: 0.01 },
      h => layernorm(h, 0.01).map((x, k) => x * gain[k]),
    ],
    [
      'layernorm with bias',
      { type: 'layernorm', weight: gain, bias: shift, eps: 1e-5 },
      h => layernorm(h, 1e-5).map((x, k) => x * gain[k] + shift[k]),
    ],
    [
      'rmsnorm',
      { type: 'rmsnorm', weight: gain, eps: 0.01 },
      h => rmsnorm(h, 0.01).map((x, k) => x * gain[k]),
    ],
    [
      'rmsnorm of 1 + w',
      { type: 'rmsnorm', weight: gain, eps: 1e-6, offset: 1 },
      h => rmsnorm(h, 1e-6).map((x, k) => x * (1 + gain[k])),
    ],
  ];

  it.each(norms)('%s', async (_, norm, by) => {
    const head = makeHead(backend, { norm });
    const wanted = products(rows.flatMap(by), weight, D);
    const logits = head.logitsSync(hidden, { norm: true });
    expectClose(logits, wanted, { absolute: 1e-5, relative: 1e-5 });
    expect(await head.logits(hidden, { norm: true })).toEqual(logits);
    // Only where a call says so.
    expectNear(head.logitsSync(hidden), dots);
    expectNear(head.logitsSync(hidden, { norm: false }), dots);
    // In every method, as if the caller had applied it.
    const applied = Float32Array.from(rows.flatMap(by));
    const top = head.topKSync(hidden, V, { norm: true });
    expect(top.ids).toEqual(head.topKSync(applied, V).ids);
    for (const method of methods)
      expect(callSync[method](head, hidden, { norm: true, top: 2 })).not.toEqual(null);
    expectNear(
      head.scoreSync(hidden, [1, 2], { norm: true }).logProbs,
      head.scoreSync(applied, [1, 2]).logProbs,
    );
  });

  it('leaves the caller his hidden states, and takes 16-bit ones', () => {
    const head = makeHead(backend, { norm: { type: 'rmsnorm', weight: gain, eps: 0 } });
    const copy = hidden.slice();
    head.logitsSync(copy, { norm: true });
    expect(copy).toEqual(hidden);
    const { bits, numbers } = someBits(2 * D, 'bf16');
    expect(head.logitsSync(bits, { norm: true, hiddenDtype: 'bf16' })).toEqual(
      head.logitsSync(numbers, { norm: true }),
    );
  });

  it('of zeros is zeros where eps is above 0', () => {
    const head = makeHead(backend, { norm: { type: 'layernorm', weight: gain, eps: 1e-5 } });
    expect([...head.logitsSync(new Float32Array(D), { norm: true })].every(u => u === 0)).toBe(true);
  });
});

describe.each(backends)('weights in shared memory, %s', backend => {
  const shared = (numbers: Float32Array) => {
    const array = new Float32Array(new SharedArrayBuffer(numbers.byteLength));
    array.set(numbers);
    return array;
  };

  it('with copy: false are used in place', async () => {
    const borrowed = shared(weight);
    const head = makeHead(backend, { copy: false }, borrowed);
    expectNear(head.logitsSync(hidden), dots);
    borrowed.fill(0, 0, D);
    borrowed[D] = 100;
    expect(head.logitsSync(hidden)[0]).toBe(0);
    expect(head.embed([1])[0]).toBe(100);
    expect((await head.logits(hidden))[0]).toBe(0);
  });

  it.each([true, undefined])('with copy: %s are copied', copy => {
    const own = shared(weight);
    const head = makeHead(backend, { copy }, own);
    own.fill(0);
    expectNear(head.logitsSync(hidden), dots);
    expect([...head.embed([1])]).toEqual([...weight.subarray(D, 2 * D)]);
  });

  it('may begin anywhere in their buffer, and be the input embedding alone', () => {
    const memory = new Float32Array(new SharedArrayBuffer(4 * (V * D + 3)));
    memory.set(weight, 3);
    const view = memory.subarray(3);
    expect(makeHead(backend, { copy: false }, view).logitsSync(hidden)).toEqual(
      makeHead(backend).logitsSync(hidden),
    );
    const untied = makeHead(backend, { copy: false, inputEmbedding: shared(weight.map(x => 2 * x)) }, view);
    expect([...untied.embed([1])]).toEqual([...weight.subarray(D, 2 * D)].map(x => 2 * x));
  });
});
