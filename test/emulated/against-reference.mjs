// What every-method.mjs wrote down, against the float64 reference.
//
//   node against-reference.mjs ANSWERS
//
// The last line is `N passed, N failed`, with what every-method.mjs counted.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { deserialize } from 'node:v8';
import {
  assertClose,
  BEAM,
  Checks,
  calls,
  greedyDraft,
  manySamplers,
  rowOf,
  SAMPLER,
  scoresOf,
} from './calls.mjs';

const require = createRequire(import.meta.url);
const { LMHead } = require('../..');
const { boundedLogitOf } = require('../../dist/reference/logits.js');

const { answers, passed, failed } = deserialize(readFileSync(process.argv[2]));
const checks = new Checks();
checks.counts = { passed, failed };

/** Logits within their bound of float64; and from those very logits the results that the reference has. */
async function judgeHead({ name, V, d, n, hidden, wide, epilogue, logits, draft, ...answer }) {
  await checks.check(`${name}: logits`, () => {
    for (let row = 0; row < n; row++) {
      const h = hidden.subarray(row * d, (row + 1) * d);
      for (let id = 0; id < V; id++) {
        const { logit, bound } = boundedLogitOf(h, wide, id, id, epilogue);
        const got = logits[row * V + id];
        assert.ok(
          Math.abs(got - logit) <= bound,
          `row ${row} id ${id}: got ${got}, want ${logit} ± ${bound}`,
        );
      }
    }
  });
  // E transposed is the logits themselves, and each hidden state picks a row of it: the reference's logits are these.
  const twin = LMHead.from(logits, { vocabSize: V, hiddenSize: n, layout: 'dv', backend: 'reference' });
  const pick = Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
  await checks.check(`${name}: draft`, () => {
    assert.deepEqual(draft.ids, twin.argmaxSync(pick).subarray(0, n - 1));
    const wanted = twin.logProbsSync(pick.subarray(0, n * (n - 1)), { temperature: 2 });
    assertClose(draft.logProbs, wanted, 'logProbs');
  });
  for (const [i, [method, values, options]] of calls(V, n, draft).entries()) {
    await checks.check(`${name}: ${method} ${i}`, () =>
      assertClose(answer.results[i], twin[`${method}Sync`](pick, ...values, options), method),
    );
  }
  await checks.check(`${name}: sampler`, () => {
    const sampler = twin.sampler(SAMPLER);
    const wanted = Array.from({ length: n }, (_, row) => sampler.nextSync(rowOf(pick, row, n)).id);
    assert.deepEqual(answer.sampled, wanted);
  });
  await checks.check(`${name}: many samplers and drafts`, () => {
    const wanted = twin.nextAllSync(manySamplers(twin, n), pick).map(({ id }) => id);
    assert.deepEqual(answer.next, wanted);
    assert.deepEqual(answer.verified, twin.verifyDraftsSync(greedyDraft(pick, draft))[0].ids);
    const { parents, ids } = twin.beamSync(pick, scoresOf(n), BEAM);
    assert.deepEqual(answer.beam, [parents, ids]);
  });
}

/** The reference by the same trick. */
async function judgeGivenLogits({ given, options, draws, drawn, candidates, ...results }) {
  const twin = LMHead.from(given, { vocabSize: given.length, hiddenSize: 1, backend: 'reference' });
  const one = Float32Array.of(1);
  await checks.check('functions over given logits, against the reference', () => {
    assertClose(results.logSoftmax, twin.logProbsSync(one, { temperature: 0.7 }), 'logSoftmax');
    assertClose(results.softmax, twin.probsSync(one), 'softmax');
    assertClose(results.topK, twin.topKSync(one, 300), 'topKOf');
    const { ids, probs } = candidates;
    assert.deepEqual(ids, twin.candidatesSync(one, options).ids);
    assert.ok(Math.abs(probs.reduce((a, b) => a + b) - 1) < 1e-5);
    for (const [step, draw] of draws.entries())
      assertClose(drawn[step], twin.sampleSync(one, draw), `sampleFrom at step ${step}`);
  });
}

assert.ok(answers.length > 0, 'nothing was written down');
for (const answer of answers) await (answer.given ? judgeGivenLogits : judgeHead)(answer);
checks.end();
