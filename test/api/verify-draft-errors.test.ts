/** Drafts that are refused, and why. */
import { describe, it } from 'vitest';
import type { LMHead } from '../../lib';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { headUnderTest, someHidden, V } from '../support/heads';

describe.each(backends)('verifyDraft refuses: %s', backend => {
  const { head: it7, hidden, worksOn } = headUnderTest(backend);
  const q = new Float32Array(V).fill(Math.log(1 / V));
  it.each<[string, unknown[], 'SHAPE' | 'RANGE' | 'ARGUMENT' | 'DTYPE', string[]]>([
    ['too many ids', [[1, 2, 3]], 'SHAPE', ['draftIds: got 3 ids for 2 hidden states; want 2, or 1']],
    ['too few ids', [[]], 'SHAPE', ['draftIds: got 0 ids for 2']],
    ['no ids', [undefined], 'ARGUMENT', ['draftIds: got undefined']],
    ['an id beyond V', [[V]], 'RANGE', [`draftIds[0]: got ${V}; want an id below ${V}`]],
    [
      'too few log-probabilities',
      [[1, 2], { draftLogProbs: q }],
      'SHAPE',
      [`draftLogProbs: got ${V} elements`, `= ${2 * V}`],
    ],
    [
      'other numbers',
      [[1], { draftLogProbs: new Float64Array(V) }],
      'DTYPE',
      ['draftLogProbs: got a Float64Array'],
    ],
    ['a list', [[1], { draftLogProbs: [0] }], 'ARGUMENT', ['draftLogProbs: got an array']],
    [
      'NaN',
      [[1], { draftLogProbs: q.with(3, NaN) }],
      'RANGE',
      ['draftLogProbs[3]: got NaN; want log-probabilities'],
    ],
    [
      'logits',
      [[1], { draftLogProbs: q.with(2, 1.5) }],
      'RANGE',
      ['draftLogProbs[2]: got 1.5; want log-probabilities'],
    ],
    ['no rows', [[1], { rows: [] }], 'RANGE', ['rows: got no ids']],
    ['a row beyond V', [[1], { rows: [V] }], 'RANGE', [`rows[0]: got ${V}`]],
    [
      'log-probabilities of all ids for some rows',
      [[1], { draftLogProbs: q, rows: [3, 1] }],
      'SHAPE',
      [`draftLogProbs: got ${V} elements; want 1 · rows.length = 2`],
    ],
    [
      'NaN where rows are put in order',
      [[1], { draftLogProbs: Float32Array.of(0, NaN), rows: [3, 1] }],
      'RANGE',
      ['draftLogProbs[1]: got NaN'],
    ],
    ['a temperature below 0', [[1], { draftLogProbs: q, temperature: -1 }], 'RANGE', ['temperature: got -1']],
    ['a norm that is not there', [[1], { draftLogProbs: q, norm: true }], 'RANGE', ['norm: got true']],
    [
      'log-probabilities as an argument',
      [[1], q],
      'ARGUMENT',
      ['options: got a Float32Array; want { draftLogProbs }'],
    ],
    [
      'options behind them',
      [[1], undefined, { temperature: 0 }],
      'ARGUMENT',
      ['arguments: got 4; want verifyDraft(hidden, draftIds, { draftLogProbs, … })'],
    ],
  ])('%s', async (_, args, kind, words) => {
    const verify = [hidden, ...args] as Parameters<LMHead['verifyDraftSync']>;
    throwsKind(() => it7.verifyDraftSync(...verify), kind, ...words);
    await rejectsKind(() => it7.verifyDraft(...verify), kind, ...words);
    worksOn();
  });
  it('closed', async () => {
    const { head: closed } = headUnderTest(backend);
    closed.close();
    throwsKind(() => closed.verifyDraftSync(someHidden(1), []), 'CLOSED');
    await rejectsKind(() => closed.verifyDraft(someHidden(1), []), 'CLOSED');
  });
});
