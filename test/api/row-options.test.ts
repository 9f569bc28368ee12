import { describe, expect, it } from 'vitest';
import { type SampleOptions, sampleFrom } from '../../lib';
import type { ErrorKind } from '../../lib/errors';
import { LMHeadError } from '../../lib/errors';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
import {
  call,
  callSync,
  headUnderTest,
  type Method,
  makeHead,
  methods,
  someHidden,
  V,
} from '../support/heads';
import { expectNear } from '../support/matrices';

const LAST_STEP = 2 ** 32 - 1;
const others = methods.filter(method => method !== 'sample' && method !== 'run');

describe.each(backends)('temperature, %s', backend => {
  const { head, hidden, refuses } = headUnderTest(backend);

  it.each([-1, -0.5, Number.NaN, Infinity, -Infinity, -5e-324])('is never %s', async temperature => {
    const word = `got ${temperature}`;
    for (const method of methods) {
      await refuses(method, [hidden, { temperature }], 'RANGE', 'temperature', word, 'finite number');
      await refuses(method, [hidden, { temperature: [1, temperature] }], 'RANGE', 'temperature[1]', word);
    }
  });

  it.each([null, '1', true, 1n, {}, new Map()])('is not %s', async temperature => {
    for (const method of methods) await refuses(method, [hidden, { temperature }], 'ARGUMENT', 'temperature');
  });

  it.each([[[]], [[1]], [[1, 1, 1]], [new Float64Array(3)]])(
    'is not one of each two rows in %j',
    async list => {
      for (const method of methods) {
        await refuses(
          method,
          [hidden, { temperature: list }],
          'SHAPE',
          'temperature',
          `got ${list.length}`,
          '2',
        );
      }
    },
  );

  it('within a list is no hole and no text', async () => {
    await refuses(
      'probs',
      [hidden, { temperature: [1, undefined] }],
      'ARGUMENT',
      'temperature[1]',
      'undefined',
    );
    await refuses('probs', [hidden, { temperature: ['1', 1] }], 'ARGUMENT', 'temperature[0]', '"1"');
  });

  it.each(others)('is not 0 in %s', async method => {
    await refuses(method, [hidden, { temperature: 0 }], 'RANGE', 'temperature', 'got 0', 'sample alone');
    await refuses(method, [hidden, { temperature: [1, -0] }], 'RANGE', 'temperature[1]', 'got 0');
  });

  it('is 0 in a run only where a sample is its one distribution', async () => {
    for (const more of [{}, { logProbs: true }, { top: 1 }, { targets: [0, 0] }]) {
      const sample = Object.keys(more).length > 0;
      await refuses('run', [hidden, { temperature: 0, sample, ...more }], 'RANGE', 'temperature', 'got 0');
    }
    const request = { temperature: [0, 1], sample: true, logits: true, argmax: true, seed: 3 } as const;
    const result = head.runSync(hidden, request);
    expect(result.sample.ids[0]).toBe(result.argmax[0]);
    expect(result.sample.logProbs[0]).toBe(0);
    // Row 0's sum is over temperature 1, as if it were given.
    expect(result.logSumExp).toEqual(head.runSync(hidden, {}).logSumExp);
    expect(await head.run(hidden, request)).toEqual(result);
  });

  it('of 0 takes the likeliest token, the lowest of equals, with logProb 0', async () => {
    const even = makeHead(backend, {}, new Float32Array(V * 7));
    const wanted = { ids: new Uint32Array(2), logProbs: new Float32Array(2) };
    expect(even.sampleSync(hidden, { temperature: 0 })).toEqual(wanted);
    expect(await even.sample(hidden, { temperature: [0, -0] })).toEqual(wanted);
    // Filters never drop the likeliest.
    const greedy = head.sampleSync(hidden, { temperature: 0, topK: 2, topP: 0.1, minP: 1 });
    expect([...greedy.ids]).toEqual([...head.argmaxSync(hidden)]);
  });

  it('divides what is a distribution, row by row, and no raw logits', () => {
    const temperature = [0.5, 3];
    const logits = head.logitsSync(hidden);
    expect(head.logitsSync(hidden, { temperature })).toEqual(logits);
    const wanted = [...logits].map((u, i) => u / temperature[Math.floor(i / V)]);
    const sums = [0, 1].map(r =>
      Math.log(wanted.slice(r * V, (r + 1) * V).reduce((sum, u) => sum + Math.exp(u), 0)),
    );
    const logProbs = wanted.map((u, i) => u - sums[Math.floor(i / V)]);
    expectNear(head.logProbsSync(hidden, { temperature }), logProbs);
    expectNear(head.probsSync(hidden, { temperature }), logProbs.map(Math.exp));
    expectNear(head.scoreSync(hidden, [3, 4], { temperature }).logProbs, [logProbs[3], logProbs[V + 4]]);
    const top = head.topKSync(hidden, 3, { temperature });
    expectNear(top.logSumExp, sums);
    const places = [...top.ids].map((id, i) => Math.floor(i / 3) * V + id);
    expectNear(
      top.logProbs,
      places.map(p => logProbs[p]),
    );
    expect([...top.logits]).toEqual(places.map(p => logits[p]));
    expect(head.argmaxSync(hidden, { temperature })).toEqual(head.argmaxSync(hidden));
  });

  it('may be a typed array, and tiny or huge', () => {
    const list = head.probsSync(hidden, { temperature: [0.5, 2] });
    const typed = Float32Array.of(0.5, 2) as unknown as number[];
    expect(head.probsSync(hidden, { temperature: typed })).toEqual(list);
    const best = head.argmaxSync(hidden);
    for (const temperature of [1e-300, 1e-310, Number.MIN_VALUE]) {
      const cold = head.probsSync(hidden, { temperature });
      expect([...cold].flatMap((p, i) => (p > 0 ? [[i, p]] : []))).toEqual([
        [best[0], 1],
        [V + best[1], 1],
      ]);
      const logProbs = head.logProbsSync(hidden, { temperature });
      expect([...logProbs].map((p, i) => (p > -Infinity ? [i, p] : 0)).filter(Boolean)).toEqual([
        [best[0], 0],
        [V + best[1], 0],
      ]);
      const { ids, logProbs: drawn } = head.sampleSync(hidden, { temperature, seed: 1 });
      expect([ids, drawn]).toEqual([best, Float32Array.of(0, 0)]);
      const entropies = head.scoreSync(hidden, [...best], { temperature, entropy: true }).entropy;
      expect(entropies).toEqual(Float32Array.of(0, 0));
    }
    expectNear(head.probsSync(hidden, { temperature: 1e300 }), Array(2 * V).fill(1 / V));
  });
});

const LIMITS: [name: string, wrong: unknown[], right: number[], wanted: string][] = [
  ['topK', [-1, 0.5, Number.NaN, Infinity], [0, 1, V, 2 ** 40], 'integer of at least 0, where 0 keeps all'],
  ['topP', [-0.1, 1.1, Number.NaN, Infinity], [0, 0.5, 1], 'number from 0 to 1'],
  ['minP', [-0.1, 1.1, Number.NaN, -Infinity], [0, 0.5, 1], 'number from 0 to 1'],
  ['seed', [-1, 0.5, Number.NaN, 2 ** 53, -1n, 2n ** 64n], [0, 2 ** 53 - 1], 'below 2^64'],
  ['stream', [-1, 0.5, Number.NaN, 2 ** 32], [0, 5, LAST_STEP], `from 0 to ${LAST_STEP}`],
  ['step', [-1, 0.5, Number.NaN, 2 ** 32], [0, 5], `from 0 to ${LAST_STEP}`],
];

describe.each(backends)('the filters, seed and step, %s', backend => {
  const { head, hidden, refuses } = headUnderTest(backend);

  describe.each(LIMITS)('%s', (name, wrong, right, wanted) => {
    it.each(wrong)('is not %s', async value => {
      for (const method of ['sample', 'run'] as Method[]) {
        const words = [`got ${typeof value === 'bigint' ? `${value}n` : value}`, wanted];
        const others = method === 'run' ? { sample: true } : {};
        await refuses(method, [hidden, { ...others, [name]: value }], 'RANGE', name, ...words);
        await refuses(method, [hidden, { ...others, [name]: [0, value] }], 'RANGE', `${name}[1]`, ...words);
      }
    });

    it.each([null, '1', true, {}, new Date(0)])('is not the value %s', async value => {
      await refuses('sample', [hidden, { [name]: value }], 'ARGUMENT', name);
      if (typeof value !== 'object')
        await refuses('sample', [hidden, { [name]: [value, 0] }], 'ARGUMENT', `${name}[0]`);
    });

    it('is one for all rows or one for each', async () => {
      for (const list of [[], [0], [0, 0, 0]])
        await refuses('sample', [hidden, { [name]: list }], 'SHAPE', name, `got ${list.length}`, '2');
      for (const value of right) {
        const all = head.sampleSync(hidden, { seed: 9, [name]: value });
        if (name !== 'step')
          expect(head.sampleSync(hidden, { seed: 9, [name]: [value, value] })).toEqual(all);
        expect(await head.sample(hidden, { seed: 9, [name]: value })).toEqual(all);
      }
    });
  });

  it('topK above the valid ids keeps them all', () => {
    const padded = makeHead(backend, { validVocabSize: V - 1 });
    const logits = padded.logitsSync(hidden);
    const all = padded.candidatesSync(hidden, {});
    expect(all.ids).toHaveLength(2 * (V - 1));
    for (const topK of [V - 1, V, 40, 2 ** 32, [V, 2 ** 40], Number.MAX_SAFE_INTEGER]) {
      expect(padded.candidatesSync(hidden, { topK })).toEqual(all);
      expect(padded.candidatesSync(hidden, { topK, rows: [3, 1] }).ids).toHaveLength(4);
      expect(padded.sampleSync(hidden, { topK, seed: 3 })).toEqual(padded.sampleSync(hidden, { seed: 3 }));
      expect(sampleFrom(logits, V, { topK, seed: 3 })).toEqual(sampleFrom(logits, V, { seed: 3 }));
    }
  });

  it('are refused at once, however long they are', async () => {
    const order = new Array(1e8) as SampleOptions['stageOrder'];
    await refuses('sample', [hidden, { stageOrder: order }], 'ARGUMENT', 'stageOrder[0]: got undefined');
    const stages = Array.from({ length: 1e6 }, () => 'topK') as SampleOptions['stageOrder'];
    await refuses('sample', [hidden, { stageOrder: stages }], 'RANGE', "stageOrder[1]: got 'topK' again");
    const seed = 1n << (1n << 24n);
    await refuses('sample', [hidden, { seed }], 'RANGE', 'seed: got a bigint of more than 128 bits');
    const history = { history: [1, 2], dryMultiplier: 1 };
    const sparse = new Array(1e8) as number[];
    await refuses('sample', [hidden, { ...history, dryBreakers: sparse }], 'ARGUMENT', 'dryBreakers[0]');
    const hole = [3];
    hole[2] = 1;
    await refuses('sample', [hidden, { ...history, dryBreakers: hole }], 'ARGUMENT', 'dryBreakers[1]');
  });

  it('step + rows may not exceed 2^32', async () => {
    await refuses('sample', [hidden, { step: LAST_STEP }], 'RANGE', 'step', `${LAST_STEP}`, '2 rows');
    const last = head.sampleSync(hidden, { seed: 5, step: LAST_STEP - 1 });
    expect(head.sampleSync(hidden, { seed: 5, step: [LAST_STEP - 1, LAST_STEP] })).toEqual(last);
  });

  it('temperature + temperatureRange is finite', async () => {
    const max = Number.MAX_VALUE;
    for (const [method, more] of [
      ['sample', {}],
      ['run', { sample: true }],
    ] as [Method, object][]) {
      const both = { ...more, temperature: max, temperatureRange: max };
      await refuses(method, [hidden, both], 'RANGE', 'temperatureRange: got 1.797', 'temperature 1.797');
      const one = { ...more, temperature: [1, max], temperatureRange: [max, 1e300] };
      await refuses(method, [hidden, one], 'RANGE', 'temperatureRange[1]: got 1e+300', 'finite sum');
    }
    const most = head.candidatesSync(hidden, { temperature: max / 2, temperatureRange: max / 2 });
    expect(most.ids).toHaveLength(2 * V);
  });

  it('rows of different streams are independent at any step, and stream 0 is as none', () => {
    const n = 8;
    const T = 40;
    const flat = new Float32Array(n * 7);
    const texts = (options: object) =>
      Array.from({ length: T }, (_, t) => [...head.sampleSync(flat, { seed: 1, step: t, ...options }).ids]);
    const echoes = (drawn: number[][]) => {
      let same = 0;
      for (let t = 0; t + 1 < T; t++)
        for (let i = 0; i + 1 < n; i++) same += Number(drawn[t][i + 1] === drawn[t + 1][i]);
      return same;
    };
    const plain = texts({});
    expect(texts({ stream: 0 })).toEqual(plain);
    expect(echoes(plain)).toBe((T - 1) * (n - 1));
    // By chance one in V.
    const own = texts({ stream: Array.from({ length: n }, (_, i) => i) });
    expect(echoes(own)).toBeLessThan((2 * (T - 1) * (n - 1)) / V);
    expect(own.map(row => row[0])).toEqual(plain.map(row => row[0]));
    // XTC's and a draft's numbers are of the stream too.
    const xtc = { xtcProbability: 0.5, xtcThreshold: 0.001, seed: 1 };
    const left = (stream: number) =>
      Array.from({ length: 30 }, (_, step) => head.candidatesSync(flat, { ...xtc, step, stream }).ids.length);
    expect(left(1)).not.toEqual(left(0));
    const accepted = (stream: number) =>
      Array.from({ length: 30 }, (_, step) => {
        const q = new Float32Array(V).fill(-0.5);
        return head.verifyDraftSync(flat.subarray(0, 7), [1], { draftLogProbs: q, seed: 1, step, stream })
          .ids[0];
      });
    expect(accepted(1)).not.toEqual(accepted(0));
  });

  it('row i draws at step + i', () => {
    const many = new Float32Array(20 * 7).fill(0.01);
    const steps = Array.from({ length: 20 }, (_, i) => 30 + i);
    const together = head.sampleSync(many, { seed: 2, step: 30 });
    expect(head.sampleSync(many, { seed: 2, step: steps })).toEqual(together);
    expect(new Set(together.ids).size).toBeGreaterThan(1);
    const alone = steps.map(step => head.sampleSync(many.subarray(0, 7), { seed: 2, step }).ids[0]);
    expect([...together.ids]).toEqual(alone);
  });

  it('a seed may be a number or a bigint, and both halves count', () => {
    const many = new Float32Array(40 * 7).fill(0.01);
    const draw = (seed: number | bigint) => [...head.sampleSync(many, { seed }).ids];
    expect(draw(12345n)).toEqual(draw(12345));
    expect(draw(2 ** 40)).toEqual(draw(2n ** 40n));
    expect(draw(2 ** 32)).not.toEqual(draw(0));
    expect(draw(1)).not.toEqual(draw(0));
    expect(draw(2n ** 64n - 1n)).toEqual(draw(2n ** 64n - 1n));
  });

  it('without a seed, draws differ from call to call', () => {
    const many = new Float32Array(60 * 7);
    const draws = new Set(Array.from({ length: 4 }, () => String(head.sampleSync(many).ids)));
    expect(draws.size).toBe(4);
  });

  it('never let a token through that they exclude', () => {
    const many = Float32Array.from({ length: 50 * 7 }, (_, i) => Math.sin(i % 7));
    const best = [...head.topKSync(many.subarray(0, 7), V).ids];
    const drawn = (options: object) => new Set(head.sampleSync(many, { seed: 1, ...options }).ids);
    expect(drawn({ topK: 1 })).toEqual(new Set([best[0]]));
    expect(drawn({ topP: 0 })).toEqual(new Set([best[0]]));
    expect(drawn({ minP: 1 })).toEqual(new Set([best[0]]));
    expect([...drawn({ topK: 3, temperature: 100 })].sort()).toEqual(best.slice(0, 3).sort());
    expect(drawn({ topK: 3, topP: 0, temperature: 100 })).toEqual(new Set([best[0]]));
  });

  it('are refused where nothing is drawn', () => {
    throwsKind(() => head.probsSync(hidden, { topP: 0.5 } as object), 'ARGUMENT', 'topP', 'probsSync');
  });
});

describe.each(backends)('k, %s', backend => {
  const { head, hidden, refuses } = headUnderTest(backend, { validVocabSize: V - 2 });
  const most = V - 2;

  it.each([0, -1, 1.5, Number.NaN, Infinity, V - 1, V])('is not %s', async top => {
    const words = [`got ${top}`, `from 1 to ${most}`];
    if (top !== 0) await refuses('topK', [hidden, { top }], 'RANGE', 'k', ...words);
    await refuses('run', [hidden, { top }], 'RANGE', 'top', ...words);
    for (const k of [top]) {
      expect(() => head.topKSync(hidden, k)).toThrow(`k: got ${k}`);
      await expect(head.topK(hidden, k)).rejects.toMatchObject({ code: 'ERR_LMHEAD_RANGE' });
    }
  });

  it.each(['2', null, 2n, true, [2], {}] as unknown[])('is not the value %s', async k => {
    const kind: ErrorKind = 'ARGUMENT';
    await refuses('run', [hidden, { top: k }], kind, 'top', 'got');
    expect(() => head.topKSync(hidden, k as number)).toThrow(LMHeadError);
    await expect(head.topK(hidden, k as number)).rejects.toThrow(/^k: got .*; want an integer/);
  });

  it('as large as the valid vocabulary sorts all of it', () => {
    const { n, k, ids, logits, logProbs } = head.topKSync(hidden, most);
    expect([n, k]).toEqual([2, most]);
    const all = head.logitsSync(hidden);
    for (let row = 0; row < 2; row++) {
      const u = all.subarray(row * V, row * V + most);
      const order = Array.from(u.keys()).sort((a, b) => u[b] - u[a] || a - b);
      expect([...ids.subarray(row * most, (row + 1) * most)]).toEqual(order);
      expect([...logits.subarray(row * most, (row + 1) * most)]).toEqual(order.map(id => u[id]));
    }
    const wanted = head.logProbsSync(hidden);
    expect([...logProbs]).toEqual([...ids].map((id, i) => wanted[Math.floor(i / most) * V + id]));
  });

  it('takes equal logits by the lower id', async () => {
    const even = makeHead(
      backend,
      { bias: Float32Array.from({ length: V }, (_, i) => i % 2) },
      new Float32Array(V * 7),
    );
    const wanted = [1, 3, 5, 7, 9, 11, 0, 2];
    expect([...even.topKSync(someHidden(1), 8).ids]).toEqual(wanted);
    expect([...(await even.topK(someHidden(1), 8)).ids]).toEqual(wanted);
  });
});

describe.each(backends)('requests of run, %s', backend => {
  const { head, hidden, refuses } = headUnderTest(backend);

  it.each(['logits', 'logProbs', 'argmax', 'sample'])('%s is true, false or left out', async name => {
    for (const value of [1, 0, null, 'true', {}])
      await refuses('run', [hidden, { [name]: value }], 'ARGUMENT', name, 'got', 'true or false');
    const off = head.runSync(hidden, { [name]: false });
    expect(off).toEqual(head.runSync(hidden, {}));
  });

  it.each([undefined, null, 3, 'logits', ['logits'], new Float32Array(1)])('are not %s', async request => {
    const bad = request as object;
    for (const run of [() => head.runSync(hidden, bad), () => head.run(hidden, bad)]) {
      await expect(async () => run()).rejects.toMatchObject({
        code: 'ERR_LMHEAD_ARGUMENT',
        message: expect.stringMatching(/^request: got .*; want an object$/),
      });
    }
  });

  it('of nothing give logSumExp alone', () => {
    expect(Object.keys(head.runSync(hidden, {}))).toEqual(['logSumExp']);
  });

  it('of everything give the bits that the methods give', async () => {
    const targets = [4, 5];
    const draw = { temperature: 0.7, topK: 6, topP: 0.9, minP: 0.01, seed: 11, step: 3 };
    const all = { logits: true, logProbs: true, argmax: true, top: 4, sample: true, entropy: true } as const;
    const request = { ...all, targets, ...draw };
    const { temperature } = draw;
    const top = head.topKSync(hidden, 4, { temperature });
    const wanted = {
      logits: head.logitsSync(hidden),
      logProbs: head.logProbsSync(hidden, { temperature }),
      argmax: head.argmaxSync(hidden),
      top,
      sample: head.sampleSync(hidden, draw),
      score: head.scoreSync(hidden, targets, { temperature, entropy: true }),
      logSumExp: top.logSumExp,
    };
    expect(head.runSync(hidden, request)).toEqual(wanted);
    expect(await head.run(hidden, request)).toEqual(wanted);
  });

  it.each(methods)('and options of %s are objects', async method => {
    if (method === 'run') return;
    for (const options of [null, 3, 'x', [], new Float32Array(1), () => 0]) {
      const start = () =>
        method === 'topK'
          ? head.topKSync(hidden, 1, options as object)
          : method === 'score'
            ? head.scoreSync(hidden, [0, 0], options as object)
            : head[`${method}Sync`](hidden, options as object);
      expect(start).toThrow(LMHeadError);
      expect(start).toThrow(/^options: got .*; want an object$/);
    }
    expect(await call[method](head, hidden)).toEqual(callSync[method](head, hidden));
  });
});
