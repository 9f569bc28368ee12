import { expect, it } from 'vitest';
import { candidatesOf, type SampleOptions, sampleFrom } from '../../lib';
import { adjustmentsOf } from '../../lib/arguments/adjustments';
import { rowParameters } from '../../lib/arguments/row-parameters';
import { type LogitsJob, noCandidates } from '../../lib/backend/backend';
import { referenceLogits } from '../../lib/reference/backend';
import { conformanceJson, describeConformance } from '../support/conformance';
import { expectClose } from '../support/numbers';

interface Case {
  op: string;
  source: string;
  note?: string;
  probs: number[];
  expected: number[];
  logits?: number[][] | string;
  expected_tokens?: number[];
  last_tokens?: number[];
  seq_breakers?: number[][];
  seq?: string;
}
/** The parameters of all samplers are numbers. */
type Row = Case & Record<string, number>;
const FILE = 'sampling/cases.json';

/** What a row of the table asks for, as options here. */
const OPTIONS: Record<string, (c: Row) => SampleOptions> = {
  temp: c => ({ temperature: c.temp }),
  temp_ext: c => ({ temperature: c.temp, temperatureRange: c.delta, temperatureExponent: c.exponent }),
  top_k: c => ({ topK: c.k }),
  top_p: c => ({ topP: c.p }),
  // Beyond 1 it is out of range here; 1 keeps what llama.cpp keeps there.
  min_p: c => ({ minP: Math.min(c.p, 1) }),
  typical: c => ({ typicalP: c.p }),
  p_less: () => ({ pLess: true }),
  // Until PR 13345 of llama.cpp 0 kept the best alone, which the least number above 0 does here; since then 0 keeps all.
  top_n_sigma: c => ({ topNSigma: c.n === 0 && !c.note ? Number.MIN_VALUE : c.n }),
  // Two draws in a hundred don't cut; this seed's first does.
  xtc: c => ({ xtcProbability: c.p, xtcThreshold: c.t, seed: 1 }),
  penalties: c => ({
    history: c.last_tokens,
    repetitionPenalty: c.repeat_penalty,
    frequencyPenalty: c.alpha_frequency,
    presencePenalty: c.alpha_presence,
  }),
  dry: c => ({
    history: c.last_tokens,
    dryMultiplier: c.dry_multiplier,
    dryBase: c.dry_base,
    dryAllowedLength: c.dry_allowed_length,
    dryWindow: c.dry_penalty_last_n,
    dryBreakers: c.seq_breakers,
  }),
};

/** What this product and its float64 twin leave, which have to be the same ids. */
function leftOf(logits: Float32Array, options: SampleOptions): { ids: Uint32Array; probs: Float32Array } {
  const V = logits.length;
  const left = candidatesOf(logits, V, options);
  const twin: LogitsJob = {
    givenLogits: logits,
    vocabSize: V,
    n: 1,
    rowParameters: rowParameters(options, 1, V, 'filter', true),
    adjustments: adjustmentsOf(options, 1, V, V),
    candidates: noCandidates(),
  };
  referenceLogits.runLogits(twin);
  expect(left.ids).toEqual(twin.candidates!.ids);
  expectClose(left.probs, twin.candidates!.probs, { absolute: 1e-6 });
  return left;
}

/** What llama.cpp's own test expects of a queue of filters over V tokens, of which token i has a share in proportion to i. */
function queueLeaves(c: Row): number[] {
  let low = 0;
  for (const filter of c.seq!) {
    const size = c.n_vocab - low;
    if (filter === 'k') low = Math.max(low, c.n_vocab - c.top_k);
    if (filter === 'm')
      low = Math.max(low, Math.min(Math.ceil(c.min_p * (c.n_vocab - 1) - 1e-9), c.n_vocab - 1));
    if (filter === 'p' && c.top_p < 1) {
      const total = (size * (c.n_vocab - 1 + low)) / 2;
      let sum = 0;
      let next = c.n_vocab;
      do sum += --next;
      while (sum < c.top_p * total - 1e-6 * total * c.top_p);
      low = Math.max(low, next);
    }
  }
  // Token 0's share is nothing: it is no candidate here.
  return Array.from({ length: c.n_vocab - Math.max(low, 1) }, (_, i) => c.n_vocab - 1 - i);
}

describeConformance(FILE, 'what filters leave, by llama.cpp and onnxruntime-genai', () => {
  const cases = conformanceJson<Row[]>(FILE);
  const rows = (wanted: (op: string) => boolean) =>
    cases.flatMap((c, row) => (wanted(c.op) ? [[row, c.op, c] as const] : []));
  let checked = 0;

  it.each(rows(op => op in OPTIONS))('row %i: %s', (_, op, c) => {
    const { probs } = leftOf(Float32Array.from(c.probs, Math.log), OPTIONS[op](c));
    // Some rows list tokens in their first order, with 0 for those that are gone; some do not renormalize.
    const expected = c.expected.filter(p => p > 0).sort((a, b) => b - a);
    const sum = expected.reduce((a, b) => a + b);
    const tiny = probs.filter(p => p > 1e-6 || probs.length === expected.length);
    expectClose(
      tiny,
      expected.map(p => p / sum),
      { absolute: 1e-5 },
    );
    checked++;
  });

  it.each(rows(op => op === 'sampler_queue'))('row %i: %s', (_, __, c) => {
    const names = { k: 'topK', p: 'topP', m: 'minP' } as const;
    const values = { k: c.top_k, p: c.top_p, m: c.min_p } satisfies Record<string, number>;
    const stages = [...c.seq!] as (keyof typeof names)[];
    const options = Object.fromEntries(stages.map(filter => [names[filter], values[filter]]));
    const order = stages.map(filter => names[filter]);
    const logits = Float32Array.from({ length: c.n_vocab }, (_, i) => Math.log(i));
    const left = leftOf(logits, { ...options, stageOrder: order });
    expect([...left.ids]).toEqual(queueLeaves(c));
    checked++;
  });

  it.each(rows(op => op === 'ort_topk1_topp' || op === 'ort_topk2'))('row %i: %s', (_, __, c) => {
    const logits = (c.logits as number[][]).flat();
    for (let step = 0; step < 50; step++) {
      const options = { topK: c.top_k, topP: c.top_p, seed: 2, step };
      const { ids } = sampleFrom(Float32Array.from(logits), 5, options);
      if (c.expected_tokens) expect([...ids]).toEqual(c.expected_tokens);
      ids.forEach((id, row) => {
        expect(logits[row * 5 + id]).toBeGreaterThan(c.op === 'ort_topk2' ? 1.25 : 0);
      });
    }
    checked++;
  });

  it.each(rows(op => op === 'ort_distribution'))('row %i: %s', (_, __, c) => {
    const [k, V, samples] = [c.k, c.vocab, c.samples];
    const logits = Float32Array.from({ length: V }, (_, id) => (k === 0 ? V - id : id < k ? k - id : 0));
    const options = { topK: k, topP: c.p, temperature: c.temperature };
    const { ids, probs } = leftOf(logits, options);
    const drawn = new Float64Array(V);
    for (let step = 0; step < samples; step++)
      drawn[sampleFrom(logits, V, { ...options, seed: 3, step }).ids[0]] += 1 / samples;
    const wanted = new Float64Array(V);
    ids.forEach((id, i) => {
      wanted[id] = probs[i];
    });
    expectClose(drawn, wanted, { absolute: c.tolerance });
    checked++;
  });

  it('are all 82 rows', () => {
    expect(cases.length).toBe(82);
    expect(checked).toBe(82);
  });
});
