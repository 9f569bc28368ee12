import { runInNewContext } from 'node:vm';
import { afterAll, describe, expect, it } from 'vitest';
import {
  candidatesOf,
  type HeadOptions,
  LMHead,
  logSoftmax,
  type OpenOptions,
  type SampleOptions,
  sampleFrom,
  softmax,
} from '../../lib';

const weight = Float32Array.of(1, 0, 0, 1, 1, 1);
const sizes = { vocabSize: 3, hiddenSize: 2 };
const norm = { type: 'rmsnorm', weight: Float32Array.of(1, 1), eps: 1e-5 } as const;
const head = LMHead.from(weight, { ...sizes, norm });
const hidden = Float32Array.of(2, 1);
const logits = Float32Array.of(1, 2, 3);
afterAll(() => head.close());

/** Every way to pass options, with the name that is none put among them. */
const calls: Record<string, (bad: object) => unknown> = {
  from: bad => LMHead.from(weight, { ...sizes, ...bad } as HeadOptions),
  'from, norm': bad => LMHead.from(weight, { ...sizes, norm: { ...norm, ...bad } }),
  open: bad => LMHead.open('nowhere.safetensors', bad as OpenOptions),
  openSync: bad => LMHead.openSync('nowhere.safetensors', bad as OpenOptions),
  run: bad => head.run(hidden, { argmax: true, ...bad }),
  runSync: bad => head.runSync(hidden, { argmax: true, ...bad }),
  logits: bad => head.logits(hidden, bad),
  logitsSync: bad => head.logitsSync(hidden, bad),
  logProbs: bad => head.logProbs(hidden, bad),
  logProbsSync: bad => head.logProbsSync(hidden, bad),
  probs: bad => head.probs(hidden, bad),
  probsSync: bad => head.probsSync(hidden, bad),
  topK: bad => head.topK(hidden, 1, bad),
  topKSync: bad => head.topKSync(hidden, 1, bad),
  argmax: bad => head.argmax(hidden, bad),
  argmaxSync: bad => head.argmaxSync(hidden, bad),
  sample: bad => head.sample(hidden, bad),
  sampleSync: bad => head.sampleSync(hidden, bad),
  candidates: bad => head.candidates(hidden, bad),
  candidatesSync: bad => head.candidatesSync(hidden, bad),
  score: bad => head.score(hidden, [1], bad),
  scoreSync: bad => head.scoreSync(hidden, [1], bad),
  lens: bad => head.lens(hidden, 1, bad),
  lensSync: bad => head.lensSync(hidden, 1, bad),
  nearest: bad => head.nearest(0, 1, bad),
  nearestSync: bad => head.nearestSync(0, 1, bad),
  verifyDraft: bad => head.verifyDraft(hidden, [1], bad),
  verifyDraftSync: bad => head.verifyDraftSync(hidden, [1], bad),
  sampler: bad => head.sampler(bad),
  'sampler, mirostat': bad => head.sampler({ mirostat: bad }),
  next: bad => head.sampler().next(hidden, bad),
  nextSync: bad => head.sampler().nextSync(hidden, bad),
  quantize: bad => head.quantize('i8', bad),
  softmax: bad => softmax(logits, 3, bad),
  logSoftmax: bad => logSoftmax(logits, 3, bad),
  sampleFrom: bad => sampleFrom(logits, 3, bad),
  candidatesOf: bad => candidatesOf(logits, 3, bad),
};

/** Options that have a name which is none from somewhere else. */
const elsewhere: Record<string, () => object> = {
  'the object that was copied from': () => Object.create({ seed: 1, top_p: 0.1 }),
  'further away': () => Object.create(Object.create({ top_p: 0.1 })),
  'a getter of a class': () => {
    class Settings {
      readonly seed = 1;
      get top_p() {
        return 0.1;
      }
    }
    return new (class extends Settings {})();
  },
  'an object without a prototype': () => Object.create(Object.assign(Object.create(null), { top_p: 0.1 })),
  'another realm': () => runInNewContext('Object.create({ top_p: 0.1 })'),
};

describe('a name that is none is refused where it comes from', () => {
  it.each(Object.entries(elsewhere))('%s', (_, make) => {
    expect(() => head.sampleSync(hidden, make())).toThrow(
      'top_p: got an option that sampleSync does not take; want topP',
    );
  });
});

it('options may be of a class, with methods, and inherited', () => {
  class Settings {
    constructor(readonly seed: number) {}
    get temperature() {
      return 0.5;
    }
    get hot() {
      return undefined;
    }
    toString() {
      return `seed ${this.seed}`;
    }
  }
  const want = head.sampleSync(hidden, { seed: 3, temperature: 0.5 });
  expect(head.sampleSync(hidden, new Settings(3) as object)).toEqual(want);
  expect(head.sampleSync(hidden, Object.create(new Settings(3)))).toEqual(want);
  expect(head.sampleSync(hidden, runInNewContext('({ seed: 3, temperature: 0.5 })'))).toEqual(want);
});

it('prototypes that never end are no reason to hang', () => {
  const endless: object = new Proxy({}, { getPrototypeOf: () => endless });
  expect(() => head.sampleSync(hidden, endless)).not.toThrow();
});

describe.each(Object.entries(calls))('%s', (_, call) => {
  it('refuses a name that is none', async () => {
    await expect(async () => call({ wombat: 1 })).rejects.toMatchObject({
      code: 'ERR_LMHEAD_ARGUMENT',
      message: expect.stringMatching(/^wombat: got an option that .+ does not take; want one of \w+/),
    });
  });
});

describe('the name that was meant', () => {
  it.each([
    ['sampleSync', 'top_p', 'topP'],
    ['sampleSync', 'TopK', 'topK'],
    ['sampleSync', 'tempreature', 'temperature'],
    ['sample', 'repetition_penalty', 'repetitionPenalty'],
    ['runSync', 'target', 'targets'],
    ['candidatesOf', 'min_p', 'minP'],
    ['from', 'softcap', 'softCap'],
    ['openSync', 'mMap', 'mmap'],
    ['from, norm', 'epsilon', 'eps'],
    ['sampler, mirostat', 'Tau', 'tau'],
    ['topKSync', 'row', 'rows'],
    ['quantize', 'activation', 'activations'],
    ['sampleSync', 'epsilon', 'epsilonCutoff'],
    ['sampleFrom', 'eta', 'etaCutoff'],
    ['sampleSync', 'order', 'stageOrder'],
    ['sampleSync', 'noRepeatNgram', 'noRepeatNgramSize'],
    ['sampleSync', 'endIds', 'eosIds'],
    ['candidatesOf', 'maxSurprise', 'maxSurprisal'],
    ['from', 'measure', 'performanceMarks'],
    ['nearestSync', 'measure', 'metric'],
  ])('%s: %s', async (method, given, meant) => {
    const refused = expect(async () => calls[method]({ [given]: 1 })).rejects;
    await refused.toMatchObject({
      code: 'ERR_LMHEAD_ARGUMENT',
      message: expect.stringMatching(
        new RegExp(`^${given}: got an option .*; want (one of .*\\b)?${meant}\\b`),
      ),
    });
  });
});

it('takes an unknown name with undefined as one left out', () => {
  const options = { top_p: undefined, topK: 1, seed: 1 } as SampleOptions;
  expect([...head.sampleSync(hidden, options).ids]).toEqual([2]);
});

it('takes a signal only where there is a promise', async () => {
  const { signal } = new AbortController();
  await head.sample(hidden, { signal, seed: 1 });
  expect(() => head.sampleSync(hidden, { signal } as SampleOptions)).toThrow(
    /^signal: got an option that sampleSync/,
  );
});

describe('options without an effect', () => {
  /** What draws, each with a value that it takes. */
  const drawing = {
    topK: 2,
    topP: 0.5,
    minP: 0.1,
    typicalP: 0.5,
    epsilonCutoff: 0.1,
    etaCutoff: 0.1,
    topNSigma: 1,
    pLess: true,
    xtcProbability: 0.5,
    temperatureRange: 0.5,
    maxSurprisal: 3,
    minKeep: 2,
    xtcProtectedIds: [1],
    beginSuppressIds: [1],
    stageOrder: ['topK'],
    logitBias: { 1: 2 },
    bannedIds: [1],
    allowedIds: [1],
    allowedMask: [Uint32Array.of(1)],
    seed: 1,
    step: 1,
    topLogProbs: 1,
    history: [1],
    minLength: 1,
    length: 1,
    eosIds: [1],
  } as const;
  const penalties = {
    repetitionPenalty: 1.2,
    frequencyPenalty: 1,
    presencePenalty: 1,
    penaltyWindow: 4,
    promptLength: 0,
    dryMultiplier: 1,
    dryBase: 2,
    dryAllowedLength: 2,
    dryWindow: 9,
    dryBreakers: [1],
    noRepeatNgramSize: 2,
    bannedSequences: [[1, 2]],
    biasedSequences: [{ ids: [1, 2], bias: 1 }],
  } as const;
  const refuses = (call: (bad: object) => unknown, bad: object, message: string) =>
    expect(async () => call(bad)).rejects.toMatchObject({ code: 'ERR_LMHEAD_RANGE', message });

  it.each(Object.entries({ ...drawing, ...penalties }))('run: %s without sample', async (name, value) => {
    for (const call of [calls.run, calls.runSync])
      for (const sample of [undefined, false])
        await expect(async () => call({ [name]: value, sample })).rejects.toMatchObject({
          code: 'ERR_LMHEAD_RANGE',
          message: expect.stringMatching(
            new RegExp(`^${name}: got .* without sample; want sample: true too$`),
          ),
        });
  });

  const draws = ['sample', 'sampleSync', 'candidates', 'candidatesSync', 'verifyDraft', 'verifyDraftSync'];
  it.each([...draws, 'sampleFrom', 'candidatesOf'])('%s: penalties without history', async method => {
    for (const [name, value] of Object.entries(penalties)) {
      await expect(async () => calls[method]({ [name]: value })).rejects.toMatchObject({
        code: 'ERR_LMHEAD_RANGE',
        message: expect.stringMatching(new RegExp(`^${name}: got .* without history; want history too$`)),
      });
      await calls[method]({ [name]: value, history: [] });
    }
    await refuses(calls[method], { minLength: 2 }, 'minLength: got 2 without eosIds; want eosIds too');
  });

  it('run: as the methods, where there is a sample', async () => {
    const bad = { sample: true, noRepeatNgramSize: 2 };
    await refuses(calls.run, bad, 'noRepeatNgramSize: got 2 without history; want history too');
    await refuses(calls.run, { entropy: true }, 'entropy: got true without targets; want targets too');
    await refuses(calls.run, { ignoreIndex: 5 }, 'ignoreIndex: got 5 without targets; want targets too');
  });

  it.each(['run', 'logits', 'probsSync', 'topK', 'argmaxSync', 'sample', 'scoreSync', 'lens'])(
    '%s: over without rows',
    method =>
      refuses(calls[method], { over: 'vocabulary' }, 'over: got "vocabulary" without rows; want rows too'),
  );

  it('takes a temperature for logSumExp alone, and flags that are false', () => {
    const cold = head.runSync(hidden, { temperature: 0.5, pLess: false, entropy: false, sample: false });
    expect(cold.logSumExp).not.toEqual(head.runSync(hidden, {}).logSumExp);
  });

  it('samplers have a history, and may get rows with each token', () => {
    const sampler = head.sampler({ repetitionPenalty: 1.2, over: 'vocabulary', seed: 1 });
    sampler.nextSync(hidden, { rows: [0, 2] });
    head.sampler({ rows: [0, 2], seed: 1 }).nextSync(hidden, { over: 'vocabulary' });
    expect(() => sampler.nextSync(hidden)).toThrow(/^over: got "vocabulary" without rows/);
    expect(() => head.sampler({ minLength: 2 } as object)).toThrow(/^minLength: got 2 without eosIds/);
  });
});
