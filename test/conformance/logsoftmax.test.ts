import { describe, expect, it } from 'vitest';
import { LMHead, logSoftmax, softmax, topKOf } from '../../lib';
import { backends } from '../support/backends';
import { conformanceJson, describeConformance } from '../support/conformance';
import { throwsKind } from '../support/errors';
import { expectClose } from '../support/numbers';

/** JSON has no NaN and no infinities: they are strings. */
type Value = number | string;
interface Case {
  op: string;
  source: string;
  x: Value[] | Value[][];
  expected?: Value[] | Value[][];
  logsumexp?: Value;
  log_softmax?: Value[];
  softmax?: Value[];
  cases?: { x: Value[]; expected: Value }[];
}
const FILE = 'logsoftmax/edge_cases.json';
const numbers = (values: Value[]) => Float32Array.from(values, Number);
/** float32 results of float32 arithmetic's inputs: half a unit in the last place, and one of exp's. */
const close = { relative: 2 ** -22, absolute: 2 ** -149 };

describeConformance(FILE, 'log-softmax with its edges, by SciPy', () => {
  const cases = conformanceJson<Case[]>(FILE);

  describe.each(backends)('%s', backend => {
    /** The same through a pass over the identity: u = x, where x is finite; else by the functions over logits. */
    const check = (x: Float32Array, what: 'logProbs' | 'probs', expected: Float32Array) => {
      const V = x.length;
      const held = what === 'logProbs' ? logSoftmax(x, V) : softmax(x, V);
      expectClose(held, expected, close);
      const bias = LMHead.from(new Float32Array(V), { vocabSize: V, hiddenSize: 1, bias: x, backend });
      const passed =
        what === 'logProbs' ? bias.logProbsSync(new Float32Array(1)) : bias.probsSync(new Float32Array(1));
      expectClose(passed, expected, close);
    };
    const checkLogSumExp = (x: Float32Array, expected: number) => {
      // Σ e^(x − max) is a float64 number of at least 1: what is below its spacing is lost.
      const close = { relative: 2 ** -22, absolute: 2 ** -52 };
      const V = x.length;
      const bias = LMHead.from(new Float32Array(V), { vocabSize: V, hiddenSize: 1, bias: x, backend });
      expectClose(bias.runSync(new Float32Array(1), {}).logSumExp, [Math.fround(expected)], close);
      if (x.includes(Number.NaN)) throwsKind(() => topKOf(x, V, 1), 'NAN');
      else expectClose(topKOf(x, V, 1).logSumExp, [Math.fround(expected)], close);
    };

    it.each(cases.map((c, i) => [i, c] as const))('case %i', (_, c) => {
      const rows = (Array.isArray(c.x?.[0]) ? c.x : [c.x ?? []]) as Value[][];
      if (rows.some(row => row.length === 0) && !c.cases) {
        throwsKind(() => logSoftmax(new Float32Array(0), 0), 'RANGE', 'vocabSize');
        throwsKind(
          () => LMHead.from(new Float32Array(0), { vocabSize: 0, hiddenSize: 1 }),
          'RANGE',
          'vocabSize',
        );
        return;
      }
      switch (c.op) {
        case 'log_softmax':
        case 'softmax': {
          const expected = (Array.isArray(c.expected![0]) ? c.expected! : [c.expected!]) as Value[][];
          rows.forEach((row, i) => {
            check(numbers(row), c.op === 'softmax' ? 'probs' : 'logProbs', numbers(expected[i]));
          });
          break;
        }
        case 'edge':
          check(numbers(rows[0]), 'logProbs', numbers(c.log_softmax!));
          check(numbers(rows[0]), 'probs', numbers(c.softmax!));
          checkLogSumExp(numbers(rows[0]), Number(c.logsumexp));
          break;
        case 'logsumexp':
          for (const { x, expected } of c.cases!) {
            if (x.length > 0) checkLogSumExp(numbers(x), Number(expected));
          }
          break;
        default:
          expect.fail(`an operation that this test does not know: ${c.op}`);
      }
    });
  });
});
