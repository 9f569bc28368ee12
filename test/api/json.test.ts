/** Results as JSON, and that what makes them so is seen by nothing else. */
import assert from 'node:assert/strict';
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { candidatesOf, type LMHead, sampleFrom, topKOf } from '../../lib';
import { backends } from '../support/backends';
import { headUnderTest } from '../support/heads';

const V = 13;

/** What any result should be written as. */
function plain(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return Array.from(value as Float32Array, plain);
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, plain(field)]));
}

const held = Float32Array.from({ length: 2 * V }, (_, i) => Math.sin(i));
const drawn = { seed: 1, topLogProbs: 3 };
const RESULTS: Record<string, (head: LMHead, hidden: Float32Array) => object | Promise<object>> = {
  topK: (head, hidden) => head.topK(hidden, 3),
  topKSync: (head, hidden) => head.topKSync(hidden, 3),
  'topK, without log-probabilities': (head, hidden) => head.topK(hidden, 3, { withLogProbs: false }),
  'sample, without log-probabilities': (head, hidden) =>
    head.sampleSync(hidden, { seed: 1, withLogProbs: false }),
  lens: (head, hidden) => head.lens(hidden, 2),
  lensSync: (head, hidden) => head.lensSync(hidden, 2),
  sample: (head, hidden) => head.sample(hidden, drawn),
  sampleSync: (head, hidden) => head.sampleSync(hidden, { seed: 1 }),
  candidates: (head, hidden) => head.candidates(hidden, { topK: 4 }),
  candidatesSync: (head, hidden) => head.candidatesSync(hidden, { topK: 4 }),
  score: (head, hidden) => head.score(hidden, [1, 2], { entropy: true }),
  'score, of nothing': (head, hidden) => head.scoreSync(hidden, [-1, -1], { ignoreIndex: -1 }),
  verifyDraft: (head, hidden) => head.verifyDraft(hidden, [1], { seed: 1 }),
  verifyDraftSync: (head, hidden) => head.verifyDraftSync(hidden, [1], { seed: 1 }),
  nearest: head => head.nearest(1, 3),
  nearestSync: head => head.nearestSync(1, 3, { metric: 'cosine' }),
  run: (head, hidden) =>
    head.run(hidden, {
      logits: true,
      logProbs: true,
      argmax: true,
      top: 2,
      sample: true,
      ...drawn,
      targets: [1, 2],
    }),
  runSync: (head, hidden) => head.runSync(hidden, { top: 2 }),
  'no rows': head => head.topKSync(new Float32Array(0), 3),
  topKOf: () => topKOf(held, V, 3),
  sampleFrom: () => sampleFrom(held, V, drawn),
  candidatesOf: () => candidatesOf(held, V, { topP: 0.5 }),
};

describe.each(backends)('%s', backend => {
  const norm = { type: 'rmsnorm' as const, weight: new Float32Array(7).fill(1), eps: 1e-5 };
  const { head, hidden } = headUnderTest(backend, { norm });

  it.each(Object.entries(RESULTS))('%s', async (_, call) => {
    const result = await call(head, hidden);
    const json = JSON.stringify(result);
    expect(JSON.parse(json)).toEqual(plain(result));
    expect(json).not.toContain('"0":');
    expect(JSON.parse(JSON.stringify({ deep: [result] }))).toEqual({ deep: [plain(result)] });

    expect(Object.keys(result)).not.toContain('toJSON');
    const spread = { ...result };
    expect(result).toEqual(spread);
    expect(result).toStrictEqual(spread);
    assert.deepStrictEqual(result, spread);
    expect(Object.getPrototypeOf(result)).toBe(Object.prototype);
    const clone = structuredClone(result);
    expect(clone).toEqual(result);
    assert.deepStrictEqual(clone, spread);
    const { port1, port2 } = new MessageChannel();
    port1.postMessage(result);
    expect(receiveMessageOnPort(port2)?.message).toEqual(result);
    port1.close();
  });

  it('what is not finite is null', () => {
    const { logits, top } = head.runSync(hidden, { logits: true, top: 1 });
    logits[0] = Number.NaN;
    top.logits[0] = -Infinity;
    expect(JSON.stringify(top)).toContain('"logits":[null,');
    expect(JSON.stringify({ logits: [...logits] })).toContain('[null,');
  });

  it('a head is its shape, dtype and backend', () => {
    expect(JSON.parse(JSON.stringify({ head }))).toEqual({
      head: { vocabSize: V, hiddenSize: 7, dtype: head.dtype, backend },
    });
  });
});
