/** Classifier-free guidance: two hidden states and a scale, in one pass. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { D, headUnderTest, makeHead, someHidden, someWeight, V } from '../support/heads';
import { someNumbers } from '../support/numbers';

const n = 3;
const hidden = someHidden(n);
const other = someNumbers(n * D, 91);
const scale = [1.5, -0.25, 7];

describe.each(backends)('guidance, %s', backend => {
  const bias = someNumbers(V, 4);
  const norm = { type: 'layernorm', weight: someNumbers(D, 6), bias: someNumbers(D, 7), eps: 1e-5 } as const;
  const head = makeHead(backend, { bias, logitScale: 0.5, norm });
  const guidance = { hidden: other, scale };

  it.each([false, true])('makes u′ + scale·(u − u′) of the logits, norm %s', norm => {
    const [u, v] = [head.logitsSync(hidden, { norm }), head.logitsSync(other, { norm })];
    const guided = head.logitsSync(hidden, { norm, guidance });
    guided.forEach((logit, i) => {
      const wanted = v[i] + scale[Math.floor(i / V)] * (u[i] - v[i]);
      expect(Math.abs(logit - wanted)).toBeLessThan(2e-5 * (1 + Math.abs(wanted)));
    });
  });

  it('is the pass of one hidden state: the same bits for every method', async () => {
    const one = hidden.map((h, i) => other[i] + scale[Math.floor(i / D)] * (h - other[i]));
    const draw = { seed: 3, topP: 0.9, topLogProbs: 4 };
    expect(head.sampleSync(hidden, { ...draw, guidance })).toEqual(head.sampleSync(one, draw));
    expect(await head.topK(hidden, 4, { guidance })).toEqual(head.topKSync(one, 4));
    expect(head.scoreSync(hidden, [1, 2, 3], { guidance })).toEqual(head.scoreSync(one, [1, 2, 3]));
    expect(head.runSync(hidden, { argmax: true, guidance })).toEqual(head.runSync(one, { argmax: true }));
    expect(head.candidatesSync(hidden, { topK: 3, guidance })).toEqual(head.candidatesSync(one, { topK: 3 }));
    const drawn = [...head.sampleSync(one, { seed: 3, rows: [4, 2, 9] }).ids];
    expect([...head.sampleSync(hidden, { seed: 3, rows: [4, 2, 9], guidance }).ids]).toEqual(drawn);
  });

  it('goes with a token of a sampler, alone and among others', async () => {
    const rowOf = (all: Float32Array, i: number) => all.subarray(i * D, (i + 1) * D);
    const each = scale.map((scale, i) => ({ guidance: { hidden: rowOf(other, i), scale } }));
    const samplers = () => scale.map((_, seed) => head.sampler({ seed, topK: 9 }));
    const one = samplers().map((sampler, i) => sampler.nextSync(rowOf(hidden, i), each[i]));
    expect(await head.nextAll(samplers(), hidden, { each })).toEqual(one);
    expect(one.map(({ id }) => id)).not.toEqual(
      samplers().map((sampler, i) => sampler.nextSync(rowOf(hidden, i)).id),
    );
  });

  it('takes the forms that hidden states have', () => {
    const half = Uint16Array.from(hidden, (_, i) => 0x3c00 + i);
    const mixed = { hidden: half, scale: 2 };
    const u = head.logitsSync(half, { hiddenDtype: 'f16', guidance: mixed });
    expect(u).toEqual(head.logitsSync(half, { hiddenDtype: 'f16' }));
    const tensor = { data: other, type: 'float32', dims: [n, D] };
    expect(head.argmaxSync(hidden, { guidance: { hidden: tensor, scale } })).toEqual(
      head.argmaxSync(hidden, { guidance }),
    );
  });

  it('scale 1 changes nothing that rounding does not', () => {
    const exact = new Float32Array(n * D).fill(0.5);
    expect(head.logitsSync(hidden, { guidance: { hidden: exact.fill(0), scale: 1 } })).toEqual(
      head.logitsSync(hidden),
    );
  });

  it('is of drafts, too', () => {
    const one = hidden.map((h, i) => other[i] + scale[Math.floor(i / D)] * (h - other[i]));
    for (const options of [{ temperature: 0 }, { seed: 3, topK: 5 }])
      expect(head.verifyDraftSync(hidden, [1, 2], { ...options, guidance })).toEqual(
        head.verifyDraftSync(one, [1, 2], options),
      );
  });

  it('takes no memory for granted that reading it takes away', async () => {
    const takingAway = (of: Float32Array, states: Float32Array) => ({
      hidden: states,
      get scale() {
        structuredClone(of, { transfer: [of.buffer as ArrayBuffer] });
        return 2;
      },
    });
    const guided = someNumbers(n * D, 91);
    const ofGuided = () => ({ guidance: takingAway(guided, guided) });
    throwsKind(() => head.sampleSync(hidden, ofGuided()), 'SHAPE', 'guidance.hidden');
    for (const call of [
      (h: Float32Array, o: object) => head.sample(h, o),
      (h: Float32Array, o: object) => head.logits(h, o),
      async (h: Float32Array, o: object) => head.scoreSync(h, [1, 2, 3], o),
    ]) {
      const own = someHidden(n);
      await rejectsKind(() => call(own, { guidance: takingAway(own, other) }), 'SHAPE');
    }
  });

  it('is refused where it makes no sense', async () => {
    const { refuses } = headUnderTest(backend);
    const h = someHidden();
    const good = { hidden: h, scale: 2 };
    await refuses('sample', [h, { guidance: 3 }], 'ARGUMENT', 'guidance');
    await refuses('sample', [h, { guidance: { scale: 2 } }], 'ARGUMENT', 'guidance.hidden');
    await refuses('topK', [h, { guidance: { ...good, scale: Number.NaN } }], 'RANGE', 'guidance.scale');
    await refuses('topK', [h, { guidance: { ...good, scale: [1, Infinity] } }], 'RANGE', 'guidance.scale[1]');
    await refuses('run', [h, { guidance: { ...good, scale: [1] } }], 'SHAPE', 'guidance.scale');
    await refuses(
      'argmax',
      [h, { guidance: { ...good, hidden: someHidden(1) } }],
      'SHAPE',
      'guidance.hidden',
    );
    const capped = LMHead.from(someWeight(), { vocabSize: V, hiddenSize: D, softCap: 30, backend });
    throwsKind(() => capped.argmaxSync(h, { guidance: good }), 'RANGE', 'guidance', 'soft-cap');
  });
});
