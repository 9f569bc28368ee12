/** The sampler's option `logits`. */
import { describe, expect, it } from 'vitest';
import { LMHead, type SamplerOptions } from '../../lib';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { someNumbers } from '../support/numbers';

const [V, d, valid] = [1500, 24, 1490];
const weight = someNumbers(V * d, 3);
const states = Array.from({ length: 6 }, (_, i) => someNumbers(d, 50 + i));
const words = new Uint32Array(Math.ceil(V / 32)).fill(0xffff_fff7);

/** Every way to draw, and what is told beside the token. */
const OPTIONS: SamplerOptions[] = [
  { seed: 1 },
  { seed: 2, temperature: 0.7, topK: 40, topP: 0.9, topLogProbs: 5 },
  { seed: 3, temperature: 1.4, minP: 0.02, topLogProbs: 0, bannedIds: [3, 4], logitBias: { 7: 2 } },
  { seed: 4, mirostat: { tau: 4 }, topLogProbs: 1000, allowedMask: words },
  { seed: 5, temperature: 0, topLogProbs: 3, repetitionPenalty: 1.5, frequencyPenalty: 0.2 },
  { seed: 6, norm: true, xtcProbability: 0.5, typicalP: 0.9, history: [1, 2, 3] },
];

describe.each(backends)('a sampler with a logits hook, %s', backend => {
  const norm = { type: 'rmsnorm', weight: someNumbers(d, 8), eps: 1e-6 } as const;
  const options = { vocabSize: V, hiddenSize: d, backend, norm, validVocabSize: valid };
  const head = LMHead.from(weight, { ...options, softCap: 30, bias: someNumbers(V, 9) });

  it.each(OPTIONS)('that changes nothing draws what it drew without: %o', async own => {
    const seen: number[] = [];
    const hooked = head.sampler({ ...own, logits: u => void seen.push(u.length) });
    const twin = head.sampler(own);
    for (const [i, hidden] of states.entries()) {
      const wanted = twin.nextSync(hidden);
      expect(i % 2 ? hooked.nextSync(hidden) : await hooked.next(hidden)).toEqual(wanted);
    }
    expect(seen).toEqual(states.map(() => valid));
    expect(hooked.toJSON()).toEqual(twin.toJSON());
  });

  it('sees the logits of the head, and changes them', async () => {
    let seen: Float32Array | undefined;
    const sampler = head.sampler({
      temperature: 0,
      topLogProbs: 2,
      logits(u) {
        seen = u.slice();
        u.fill(-Infinity);
        u[77] = u[78] = 1;
      },
    });
    const raw = head.logitsSync(states[0]);
    const token = await sampler.next(states[0]);
    expect(seen).toEqual(raw.subarray(0, valid));
    expect([token.id, token.logProb]).toEqual([77, 0]);
    // What is told of the model is not what the hook made of it.
    const { logProbs } = head.scoreSync(states[0], [77]);
    expect(token.modelLogProb).toBe(logProbs[0]);
    expect(token.modelTopLogProbs!.map(({ id }) => id)).toEqual([...head.topKSync(states[0], 2).ids]);
  });

  it('goes with others in nextAll, and leaves all as they were when it throws', async () => {
    const problem = new Error('no');
    let fails = true;
    const thrower = head.sampler({
      seed: 1,
      logits() {
        if (fails) throw problem;
      },
    });
    const plain = head.sampler({ seed: 2 });
    const hidden = Float32Array.from([...states[0], ...states[1]]);
    const before = [thrower.toJSON(), plain.toJSON()];
    expect(() => head.nextAllSync([plain, thrower], hidden)).toThrow(problem);
    await expect(head.nextAll([plain, thrower], hidden)).rejects.toBe(problem);
    await expect(thrower.next(states[0])).rejects.toBe(problem);
    expect(() => thrower.nextSync(states[0])).toThrow(problem);
    expect([thrower.toJSON(), plain.toJSON()]).toEqual(before);
    fails = false;
    const wanted = [
      head.sampler({ seed: 2 }).nextSync(states[0]),
      head.sampler({ seed: 1 }).nextSync(states[1]),
    ];
    expect(await head.nextAll([plain, thrower], hidden)).toEqual(wanted);
  });

  it('survives hooks that do what they should not', async () => {
    const detach = head.sampler({
      logits: u => void structuredClone(u, { transfer: [u.buffer as ArrayBuffer] }),
    });
    throwsKind(() => detach.nextSync(states[0]), 'SHAPE', 'logits');
    const returns = head.sampler({ logits: ((u: Float32Array) => u.slice()) as never });
    throwsKind(() => returns.nextSync(states[0]), 'ARGUMENT', 'logits', 'in place');
    const nothing = head.sampler({ logits: u => void u.fill(-Infinity) });
    throwsKind(() => nothing.nextSync(states[0]), 'NAN');
    const nan = head.sampler({ logits: u => void u.fill(Number.NaN, 5, 6) });
    throwsKind(() => nan.nextSync(states[0]), 'NAN');
    const again = head.sampler({ logits: () => void again.nextSync(states[0]) });
    throwsKind(() => again.nextSync(states[0]), 'BUSY');
    const twin = LMHead.attach(structuredClone(head.handle));
    const closes = twin.sampler({ seed: 1, logits: () => twin.close() });
    expect(closes.nextSync(states[0]).id).toBe(head.sampler({ seed: 1 }).nextSync(states[0]).id);
    throwsKind(() => closes.nextSync(states[0]), 'CLOSED');
  });

  it('is refused beside rows, and for drafts', async () => {
    const sampler = head.sampler({ logits() {} });
    throwsKind(() => head.sampler({ logits() {}, rows: [1] }), 'RANGE', 'logits', 'rows');
    throwsKind(() => sampler.nextSync(states[0], { rows: [1, 2] }), 'RANGE', 'logits', 'rows');
    await rejectsKind(() => sampler.verify(states[0], [1]), 'RANGE', 'logits');
  });
});
