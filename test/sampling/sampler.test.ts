import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { NextOptions, SampleOptions, SamplerOptions } from '../../lib';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { D, makeHead, someHidden, V } from '../support/heads';

describe.each(backends)('a sampler, %s', backend => {
  const head = makeHead(backend);
  const states = Array.from({ length: 12 }, (_, i) => someHidden(12).slice(i * D, (i + 1) * D));
  const run = (options: SamplerOptions) => {
    const sampler = head.sampler({ seed: 3, ...options });
    return states.map(h => sampler.nextSync(h).id);
  };

  it('draws what the stateless form draws', () => {
    const options = {
      temperature: 0.9,
      topP: 0.95,
      repetitionPenalty: 1.4,
      dryMultiplier: 0.5,
      noRepeatNgramSize: 3,
    };
    const sampler = head.sampler({ seed: 3, ...options });
    const history: number[] = [];
    states.forEach((h, step) => {
      const { ids, logProbs } = head.sampleSync(h, { ...options, seed: 3, step, history });
      expect(sampler.nextSync(h)).toEqual({ id: ids[0], logProb: logProbs[0] });
      history.push(ids[0]);
    });
    expect([...sampler.history]).toEqual(history);
  });

  it('draws the same by promises, after a reset, in a clone, and where a state was taken', async () => {
    const options: SamplerOptions = {
      seed: 8n,
      frequencyPenalty: 0.3,
      mirostat: { tau: 3 },
      history: [1, 2, 3],
    };
    const sampler = head.sampler(options);
    const wanted = [];
    for (const h of states) wanted.push(await sampler.next(h));
    sampler.reset();
    const half = states.slice(0, 6).map(h => sampler.nextSync(h));
    const state = JSON.parse(JSON.stringify(sampler));
    const clone = sampler.clone();
    const restored = head.sampler({ ...options, seed: 99 });
    restored.restore(state);
    for (const each of [sampler, clone, restored])
      expect([...half, ...states.slice(6).map(h => each.nextSync(h))]).toEqual(wanted);
  });

  it('takes tokens from elsewhere', () => {
    const sampler = head.sampler({ temperature: 0, presencePenalty: 1000 });
    const best = head.argmaxSync(states[0])[0];
    sampler.accept(best);
    expect(sampler.nextSync(states[0]).id).not.toBe(best);
    expect([...sampler.history].slice(0, 1)).toEqual([best]);
    throwsKind(() => sampler.accept(V), 'RANGE', 'id');
  });

  it('ends no text before minLength', () => {
    const best = head.argmaxSync(states[0])[0];
    const sampler = head.sampler({ temperature: 0, minLength: 3, eosIds: [best], history: [0, 1, 2, 3, 4] });
    const ids = Array.from({ length: 4 }, () => sampler.nextSync(states[0]).id);
    expect(ids.map(id => id === best)).toEqual([false, false, false, true]);
  });

  it('takes a mask for one token alone', () => {
    const sampler = head.sampler({ seed: 1 });
    expect(sampler.nextSync(states[0], { allowedIds: [4] }).id).toBe(4);
    expect(new Set(run({ allowedIds: [2, 5] }))).toEqual(new Set([2, 5]));
  });

  it('holds to its own bans, biases and allowed ids beside those of one token', async () => {
    const [h] = states;
    const maskOf = (ids: number[]) => Uint32Array.of(ids.reduce((bits, id) => bits | (1 << id), 0));
    const own = { bannedIds: [3], logitBias: { 4: 2, 5: -3, 6: -Infinity } };
    const more = {
      bannedIds: [7, 3],
      logitBias: new Map([
        [5, 4],
        [8, -Infinity],
        [9, 1],
      ]),
    };
    const both = { bannedIds: [3, 7], logitBias: { 4: 2, 5: 1, 6: -Infinity, 8: -Infinity, 9: 1 } };
    for (const [mine, given, together] of [
      [own, more, both],
      [own, {}, own],
      [{}, more, more],
      [{ allowedIds: [1, 2, 3, 4] }, { allowedIds: Uint32Array.of(2, 3, 5) }, { allowedIds: [2, 3] }],
      [{ allowedIds: [1, 2, 3] }, { allowedMask: maskOf([2, 3, 5]) }, { allowedIds: [2, 3] }],
      [{ allowedMask: maskOf([0, 12]) }, { allowedIds: [12, 4] }, { allowedMask: maskOf([12]) }],
      [{ allowedMask: maskOf([1, 12]) }, { bannedIds: [12] }, { allowedIds: [1] }],
      [{ bannedIds: [1] }, { allowedIds: [1, 6] }, { allowedIds: [6] }],
    ] as [SamplerOptions, NextOptions, SampleOptions][]) {
      for (let seed = 0; seed < 30; seed++) {
        const wanted = head.sampleSync(h, { ...together, seed });
        const token = { id: wanted.ids[0], logProb: wanted.logProbs[0] };
        expect(head.sampler({ ...mine, seed }).nextSync(h, given)).toEqual(token);
        expect(await head.sampler({ ...mine, seed }).next(h, given)).toEqual(token);
      }
    }
    const none = head.sampler({ allowedIds: [1, 2] });
    throwsKind(() => none.nextSync(h, { allowedIds: [3] }), 'RANGE', 'no id that may be drawn');
    throwsKind(() => none.nextSync(h, { bannedIds: [1, 2] }), 'RANGE', 'no id that may be drawn');
    throwsKind(() => none.nextSync(h, { allowedMask: new Uint8Array(4) as never }), 'DTYPE', 'allowedMask');
    expect([1, 2]).toContain(none.nextSync(h).id);
  });

  it('adds for one token what holds for that one alone', () => {
    const sampler = head.sampler({ temperature: 0, bannedIds: [0] });
    const best = sampler.clone().nextSync(states[0]).id;
    const next = sampler.clone().nextSync(states[0], { bannedIds: [best] }).id;
    expect(next).not.toBe(best);
    expect(sampler.nextSync(states[0], { logitBias: { [best]: -1e6 } }).id).toBe(next);
    expect(sampler.nextSync(states[0]).id).toBe(best);
  });

  it('reads its own lists once, where it is made', () => {
    const bannedIds = [0, 1];
    const logitBias = new Map([[2, -Infinity]]);
    const allowedMask = Uint32Array.of(0b11111);
    const sampler = head.sampler({ bannedIds, logitBias, allowedMask, seed: 1 });
    bannedIds.length = 0;
    logitBias.clear();
    allowedMask.fill(0);
    for (const each of [sampler, sampler.clone()])
      for (const h of states) expect([3, 4]).toContain(each.nextSync(h).id);
    throwsKind(() => head.sampler({ bannedIds: [V] }), 'RANGE', 'bannedIds[0]');
    throwsKind(() => head.sampler({ logitBias: { 1: NaN } }), 'RANGE', 'logitBias[1]');
    throwsKind(() => head.sampler({ logitBias: new Set([1]) as never }), 'ARGUMENT', 'logitBias: got a Set');
    throwsKind(() => head.sampler({ allowedIds: 'x' as never }), 'ARGUMENT', 'allowedIds');
    throwsKind(() => head.sampler({ allowedMask: Uint32Array.of(1, 2) }), 'SHAPE', 'allowedMask');
    const both: NextOptions = { allowedIds: [1], allowedMask: Uint32Array.of(2) };
    throwsKind(() => head.sampler(both), 'RANGE', 'allowedMask', 'allowedIds');
    throwsKind(() => head.sampler().nextSync(states[0], both), 'RANGE', 'allowedMask', 'allowedIds');
  });

  it('has no ids of the padding', () => {
    const padded = makeHead(backend, { validVocabSize: V - 2 });
    throwsKind(() => padded.sampler({ history: [V - 2] }), 'RANGE', 'history[0]', `below ${V - 2}`);
    throwsKind(() => padded.sampler().accept(V - 2), 'RANGE', `below ${V - 2}`);
    throwsKind(() => padded.sampler().nextSync(states[0], { bannedIds: [V - 1] }), 'RANGE', 'bannedIds[0]');
  });

  it('draws among some rows alone, of its own or of one token', () => {
    const rows = [3, 9, 4, 11, 6];
    const options = { topP: 0.9, repetitionPenalty: 1.2, over: 'vocabulary', topLogProbs: 3 } as const;
    const own = head.sampler({ seed: 3, rows, ...options });
    const later = head.sampler({ seed: 3, ...options });
    const history: number[] = [];
    states.forEach((h, step) => {
      const wanted = head.sampleSync(h, { ...options, rows, seed: 3, step, history });
      const token = own.nextSync(h);
      expect(later.nextSync(h, { rows })).toEqual(token);
      expect(rows).toContain(token.id);
      expect(token).toMatchObject({
        id: wanted.ids[0],
        logProb: wanted.logProbs[0],
        modelLogProb: wanted.modelLogProbs![0],
      });
      history.push(token.id);
    });
    throwsKind(() => own.nextSync(states[0], { rows: [1, 1] }), 'RANGE');
  });

  it('steers surprisal to tau', () => {
    const flat = makeHead(backend, {}, new Float32Array(V * D));
    const sampler = flat.sampler({ seed: 1, mirostat: { tau: 1, eta: 0.2 } });
    const before = sampler.toJSON().surprisalLimit;
    sampler.nextSync(states[0]); // log2 13 = 3.7 bits, beyond 2·tau: the best and its equals alone are left
    expect(before).toBe(2);
    expect(sampler.toJSON().surprisalLimit).toBeCloseTo(2 - 0.2 * (Math.log2(V) - 1), 5);
  });

  it('lists the likeliest, of the raw distribution and of the one sampled', async () => {
    const options = { seed: 2, temperature: 0.5, topK: 3, topLogProbs: 5 };
    const token = head.sampler(options).nextSync(states[1]);
    expect(await head.sampler(options).next(states[1])).toEqual(token);
    const raw = head.logProbsSync(states[1]);
    expect(token.modelLogProb).toBe(raw[token.id]);
    expect(token.modelTopLogProbs!.map(t => t.id)).toEqual([...head.topKSync(states[1], 5).ids]);
    for (const { id, logProb } of token.modelTopLogProbs!) expect(logProb).toBe(raw[id]);
    expect(token.topLogProbs!.map(t => t.id)).toEqual([...head.topKSync(states[1], 3).ids]);
    expect(token.topLogProbs!.reduce((sum, t) => sum + Math.exp(t.logProb), 0)).toBeCloseTo(1, 5);
    expect(token.topLogProbs!.find(t => t.id === token.id)!.logProb).toBeCloseTo(token.logProb, 5);
    expect(head.sampler({ ...options, topLogProbs: 0 }).nextSync(states[1])).toEqual({
      ...token,
      topLogProbs: [],
      modelTopLogProbs: [],
    });
  });

  it('refuses wrong arguments and goes on as it was', async () => {
    const sampler = head.sampler({ seed: 4, repetitionPenalty: 1.2 });
    const twin = sampler.clone();
    throwsKind(() => sampler.nextSync(someHidden(2)), 'SHAPE', 'hidden', 'got 2');
    throwsKind(() => sampler.nextSync(states[0], { allowedIds: [] }), 'RANGE', 'allowedIds');
    throwsKind(() => sampler.restore({ ...sampler.toJSON(), seed: 'x' }), 'ARGUMENT', 'state.seed');
    throwsKind(() => sampler.restore({ ...sampler.toJSON(), history: [V] }), 'RANGE', 'state.history');
    const pending = sampler.next(states[0]);
    await rejectsKind(() => sampler.next(states[0]), 'BUSY', 'pending');
    throwsKind(() => sampler.reset(), 'BUSY');
    expect(await pending).toEqual(twin.nextSync(states[0]));
    throwsKind(() => head.sampler({ topLogProbs: 1001 }), 'RANGE', 'topLogProbs');
    throwsKind(() => head.sampler({ seed: -1 }), 'RANGE', 'seed');
    throwsKind(() => head.sampler({ mirostat: 5 as unknown as object }), 'ARGUMENT', 'mirostat');
  });

  it('shows its state where it is printed', () => {
    const sampler = head.sampler({ seed: 7, history: [1] });
    sampler.accept(2);
    expect(inspect(sampler)).toBe(
      "Sampler { seed: '7', step: 0, history: Uint32Array(2) [ 1, 2 ], generated: 1 }",
    );
  });

  it('has a seed of its own where none is given', () => {
    expect(head.sampler().toJSON().seed).not.toBe(head.sampler().toJSON().seed);
  });
});
