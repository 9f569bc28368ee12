import { expect, it } from 'vitest';
import { candidatesOf, type SampleOptions } from '../../lib';
import { rowParameters } from '../../lib/arguments/row-parameters';
import { noCandidates } from '../../lib/backend';
import { referenceLogits } from '../../lib/reference/backend';
import { conformanceJson, describeConformance } from '../support/conformance';
import { expectClose } from '../support/numbers';

interface Case {
  op: string;
  source: string;
  note?: string;
  probs: number[];
  expected: number[];
  k?: number;
  p?: number;
  temp?: number;
}
const FILE = 'sampling/cases.json';

/** The option that a row of the table is about; undefined where it is about another filter, or out of range here. */
function options({ op, k, p, temp }: Case): SampleOptions | undefined {
  switch (op) {
    case 'top_k':
      return { topK: k };
    case 'top_p':
      return { topP: p };
    case 'min_p':
      return p! <= 1 ? { minP: p } : undefined;
    case 'temp':
      return { temperature: temp };
    default:
      return undefined;
  }
}

describeConformance(FILE, 'what filters leave, by llama.cpp', () => {
  const cases = conformanceJson<Case[]>(FILE);
  const ours = cases.filter(c => options(c) !== undefined);

  it.each(ours.map((c, i) => [i, c.op, c] as const))('row %i: %s', (_, __, c) => {
    const logits = Float32Array.from(c.probs, Math.log);
    const V = logits.length;
    // Some rows list the tokens in their first order, with 0 for those that are gone.
    const expected = c.expected.filter(p => p > 0).sort((a, b) => b - a);
    expectClose(candidatesOf(logits, V, options(c)!).probs, expected, { absolute: 1e-5 });
    const table = rowParameters(options(c), 1, V, 'filter', true)!;
    const job = { heldLogits: logits, vocabSize: V, n: 1, rowParameters: table, candidates: noCandidates() };
    referenceLogits.runLogits(job);
    expectClose(job.candidates.probs, expected, { absolute: 1e-5 });
  });

  it('are 25 rows of top-k, top-p, min-p and temperature', () => {
    expect(ours.length).toBe(25);
  });
});
