import { expect, it } from 'vitest';
import { rowsOf, sampleFrom, type TopK, topKOf } from '../../lib';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
import { makeHead, someHidden } from '../support/heads';

it.each(backends)('gives the rows of a TopK: %s', backend => {
  const head = makeHead(backend);
  const top = head.topKSync(someHidden(3), 4);
  const rows = rowsOf(top);
  expect(rows.map(row => row.length)).toEqual([4, 4, 4]);
  expect(rows.flat().map(({ id }) => id)).toEqual([...top.ids]);
  expect(rows.flat().map(({ logit }) => logit)).toEqual([...top.logits]);
  expect(rows.flat().map(({ logProb }) => logProb)).toEqual([...top.logProbs]);
  expect(JSON.parse(JSON.stringify(rows))).toEqual(rows);
  expect(rowsOf(structuredClone(top))).toEqual(rows);
  expect(rowsOf(head.topKSync(new Float32Array(0), 2))).toEqual([]);
});

it('gives of a list as many ids as could be drawn', () => {
  const logits = Float32Array.of(1, 3, 2, 0, 0, 9);
  const { topLogProbs, modelTopLogProbs } = sampleFrom(logits, 3, { topP: 0.9, topLogProbs: 3, seed: 1 });
  const rows = rowsOf(topLogProbs!);
  expect(rows.map(row => row.map(({ id }) => id))).toEqual([[1, 2], [2]]);
  expect(rows[1]).toEqual([{ id: 2, logProb: 0 }]);
  expect(rowsOf(modelTopLogProbs!).map(row => row.length)).toEqual([3, 3]);
  expect(rowsOf(sampleFrom(logits, 3, { topLogProbs: 0 }).topLogProbs!)).toEqual([[], []]);
});

it('takes nothing else', () => {
  const top = topKOf(Float32Array.of(1, 2), 2, 2);
  const list = sampleFrom(Float32Array.of(1, 2), 2, { topLogProbs: 2, seed: 1 }).topLogProbs!;
  const wrong = [
    undefined,
    null,
    7,
    'top',
    [],
    {},
    top.ids,
    { ...top, k: 3 },
    { ...top, n: undefined },
    { ...top, logits: undefined },
    { ...top, ids: [1, 0] },
    JSON.parse(JSON.stringify(top)),
    // As many rows as one likes, of nothing each.
    { ...top, n: 1e9, k: 0, ids: new Uint32Array(0), logProbs: new Float32Array(0) },
    { ...list, counts: Uint32Array.of(2 ** 31) },
    { ...list, counts: Object.defineProperty(Uint32Array.of(1), 'length', { value: 1e9 }), k: 0 },
  ];
  for (const value of wrong) throwsKind(() => rowsOf(value as TopK), 'ARGUMENT', 'result: got', 'topK');
});
