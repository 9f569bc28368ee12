/** Heads of shards of a vocabulary: every way of making one, and what is refused. */
import { describe, expect, it } from 'vitest';
import { LMHead, mergeSamples, mergeScores, mergeTopK } from '../../lib';
import type { OpenOptions } from '../../lib/types';
import { backends } from '../support/backends';
import { rejectsKind, throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { F16, gguf } from '../support/gguf';
import { narrow } from '../support/half';
import { npy } from '../support/npy';
import { expectClose, someNumbers } from '../support/numbers';
import { QUANTIZED, someQuantized, validWidth } from '../support/quantized';
import { floats, safetensors } from '../support/safetensors';
import { expectMerged, same, shardsOf } from '../support/shards';
import { endedWell, runWorkers } from '../support/workers';

const folder = temporaryFolder();
const [V, d] = [1000, 32];
const weight = someNumbers(V * d, 4);
const hidden = someNumbers(3 * d, 6);
const bytesOf = ({ buffer }: Float32Array | Float64Array | Uint16Array) => new Uint8Array(buffer);
const model = () => folder.file('model.safetensors', safetensors([floats('lm_head.weight', [V, d], weight)]));

describe.each(backends)('%s', backend => {
  const files: [string, OpenOptions, () => string][] = [
    ['.safetensors', {}, model],
    ['.safetensors, read', { mmap: false }, model],
    [
      'an index of several files',
      {},
      () => {
        folder.file('two/a.safetensors', safetensors([floats('lm_head.weight', [V, d], weight)]));
        folder.file('two/b.safetensors', safetensors([floats('lm_head.bias', [V], someNumbers(V, 8))]));
        const weight_map = { 'lm_head.weight': 'a.safetensors', 'lm_head.bias': 'b.safetensors' };
        return folder.file('two/model.safetensors.index.json', JSON.stringify({ weight_map }));
      },
    ],
    [
      '.gguf',
      {},
      () => {
        const bytes = bytesOf(narrow(weight, 'f16'));
        return folder.file('m.gguf', gguf([{ name: 'output.weight', type: F16, shape: [V, d], bytes }]));
      },
    ],
    ['.npy', {}, () => folder.file('m.npy', npy('<f4', [V, d], bytesOf(weight)))],
    [
      '.npy of float64',
      {},
      () => folder.file('d.npy', npy('<f8', [V, d], bytesOf(Float64Array.from(weight)))),
    ],
  ];
  it.each(files)('%s', async (_, options, file) => {
    const path = file();
    const whole = LMHead.openSync(path, { backend, ...options });
    expectMerged(shardsOf(path, 3, { backend, ...options }), whole, hidden);
    const shard = { index: 1, count: 2 };
    const [one, two] = [
      await LMHead.open(path, { backend, ...options, shard }),
      LMHead.openSync(path, { backend, ...options, shard }),
    ];
    same(await one.score(hidden, [1, 2, 3]), two.scoreSync(hidden, [1, 2, 3]));
  });

  it.each(QUANTIZED)('%s, whose blocks lie in rows', async dtype => {
    const width = validWidth(dtype, 40);
    const rows = someQuantized(dtype, 300, width);
    const whole = LMHead.from(rows, { vocabSize: 300, hiddenSize: width, dtype, backend });
    const path = folder.path(`${dtype}.safetensors`);
    await whole.save(path);
    const heads = shardsOf(path, 2, { backend });
    expectMerged(heads, whole, someNumbers(3 * width, 3));
    expect(heads[1].embed([150, 299])).toEqual(whole.embed([150, 299]));
  });

  it('an input embedding of its own is cut alike', () => {
    const input = someNumbers((V + 8) * d, 9);
    const tensors = [
      floats('lm_head.weight', [V, d], weight),
      floats('model.embed_tokens.weight', [V + 8, d], input),
    ];
    const path = folder.file('untied.safetensors', safetensors(tensors));
    const whole = LMHead.openSync(path, { backend });
    const [first, last] = shardsOf(path, 2, { backend });
    expect(first.embed([0, 499])).toEqual(whole.embed([0, 499]));
    expect(last.embed([500, V + 7])).toEqual(whole.embed([500, V + 7]));
    expect(LMHead.attach(last.handle).embed([V + 7])).toEqual(whole.embed([V + 7]));
    expect(last.tied).toBe(false);
    throwsKind(() => first.embed([3, 500]), 'RANGE', 'ids[1]: got 500', 'from 0 to 499');
    const inputEmbedding = someNumbers(V * d, 3);
    const given = LMHead.openSync(model(), { backend, inputEmbedding, shard: { index: 1, count: 2 } });
    expect(given.embed([500])).toEqual(inputEmbedding.subarray(500 * d, 501 * d));
  });

  it('attached, and quantized', async () => {
    const path = model();
    const attached = shardsOf(path, 3, { backend }).map(head => LMHead.attach(structuredClone(head.handle)));
    const whole = LMHead.openSync(path, { backend });
    expectMerged(attached, whole, hidden);
    const small = (await whole.quantize('q8_0')).head;
    const quantized = await Promise.all(attached.map(head => head.quantize('q8_0', { hidden })));
    const heads = quantized.map(({ head }) => head);
    expectMerged(heads, small, hidden);
    expectMerged(
      heads.map(head => LMHead.attach(head.handle)),
      small,
      hidden,
    );
    expect(quantized.every(({ error }) => error.logits!.max < 0.2)).toBe(true);
  });

  it('says which it is, and has the ids of the whole', async () => {
    const [first, last] = shardsOf(model(), 2, { backend });
    const { vocabSize, parameterCount, shard } = first;
    expect({ vocabSize, parameterCount, shard }).toEqual({
      vocabSize: V,
      parameterCount: 512 * d, // whole chunks
      shard: { index: 0, count: 2, firstId: 0, endId: 500 },
    });
    expect(last.argmaxSync(hidden).every(id => id >= 500)).toBe(true);
    const total = last
      .probsSync(hidden)
      .subarray(0, 500)
      .reduce((sum, p) => sum + p);
    expect(total).toBeCloseTo(1, 4);
    expect(last.nearestSync(700, 1, { metric: 'cosine' }).ids).toEqual(Uint32Array.of(700));
    expect((await last.verify(hidden)).ok).toBe(true);
    expect(LMHead.openSync(model(), { backend }).shard).toBeUndefined();
  });

  it('no hidden states', () => {
    const heads = shardsOf(model(), 2, { backend });
    const none = new Float32Array(0);
    expect(mergeTopK(heads.map(head => head.topKSync(none, 2))).n).toBe(0);
    expect(mergeScores(heads.map(head => head.scoreSync(none, []))).count).toBe(0);
    expect(mergeSamples(heads.map(head => head.sampleSync(none, { seed: 1 }))).ids).toHaveLength(0);
  });

  it('NaN is where it is', () => {
    const bad = weight.slice();
    bad[700 * d] = Number.NaN;
    const path = folder.file('nan.safetensors', safetensors([floats('lm_head.weight', [V, d], bad)]));
    const heads = shardsOf(path, 3, { backend });
    const whole = LMHead.openSync(path, { backend });
    const problem = throwsKind(() => whole.topKSync(hidden, 1), 'NAN', 'id 700');
    throwsKind(() => heads[2].topKSync(hidden, 1), 'NAN', problem.message);
    throwsKind(() => heads[2].sampleSync(hidden, { seed: 1 }), 'NAN', 'row 0 at id 700');
    expect(heads[1].topKSync(hidden, 1).n).toBe(3);
    const targets = [1, 2, 3];
    same(mergeScores(heads.map(head => head.scoreSync(hidden, targets))), whole.scoreSync(hidden, targets));
  });

  it('refuses what needs the whole', async () => {
    const [, head] = shardsOf(model(), 2, { backend });
    const wanted = 'want the whole head';
    throwsKind(() => head.candidatesSync(hidden), 'RANGE', 'candidates:', wanted);
    throwsKind(() => head.verifyDraftSync(hidden, [1, 2]), 'RANGE', 'verifyDraft:', wanted);
    throwsKind(() => head.topKSync(hidden, 1, { rows: [600] }), 'RANGE', 'rows:', wanted);
    throwsKind(() => head.sampleSync(hidden, { seed: 1, topLogProbs: 2 }), 'RANGE', 'topLogProbs:', wanted);
    throwsKind(() => head.topKSync(hidden, 2, { withLogProbs: false }), 'RANGE', 'withLogProbs:', wanted);
    expect(head.topKSync(hidden, 2, { withLogProbs: true })).toEqual(head.topKSync(hidden, 2));
    throwsKind(() => head.beamSync(hidden, [0, 0, 0]), 'RANGE', 'beam:', wanted);
    throwsKind(() => head.sampler(), 'RANGE', 'sampler:', 'mergeSamples');
    await rejectsKind(() => head.save(folder.path('no.safetensors')), 'RANGE', 'save:', wanted);
    throwsKind(() => head.nearestSync(3, 1), 'RANGE', 'idOrVector: got 3', 'from 500 to 999');
    throwsKind(() => head.sampleSync(hidden), 'ARGUMENT', 'seed: got none');
    const filters = [{ topP: 0.5 }, { minP: 0.1 }, { topNSigma: 1, topK: 5 }, { temperatureRange: 0.1 }];
    for (const filter of filters) {
      const [name] = Object.keys(filter);
      const options = { seed: 1, ...filter };
      const { message } = throwsKind(
        () => head.sampleSync(hidden, options),
        'RANGE',
        `${name}:`,
        'want topK',
      );
      await rejectsKind(() => head.sample(hidden, options), 'RANGE', message);
    }
    const numbers = someNumbers(20_000);
    const path = folder.file(
      'big.safetensors',
      safetensors([floats('lm_head.weight', [20_000, 1], numbers)]),
    );
    const large = LMHead.openSync(path, { backend, shard: { index: 0, count: 2 } });
    const state = someNumbers(1);
    throwsKind(() => large.sampleSync(state, { seed: 1, topK: 1025 }), 'RANGE', 'topK: got 1025');
    const allowedIds = Array.from({ length: 1100 }, (_, i) => i);
    throwsKind(() => large.sampleSync(state, { seed: 1, allowedIds }), 'RANGE', 'allowedMask: got 1100');
  });

  it('refuses shards that there are not', () => {
    const open = (shard: unknown, options: OpenOptions = {}) =>
      LMHead.openSync(model(), { backend, ...options, shard: shard as { index: number; count: number } });
    throwsKind(() => open({ index: 2, count: 2 }), 'RANGE', 'shard.index: got 2');
    throwsKind(() => open({ index: 0, count: V + 1 }), 'RANGE', 'shard.count: got 1001');
    throwsKind(() => open({ index: 0, count: 0 }), 'RANGE', 'shard.count: got 0');
    throwsKind(() => open({ index: 0 }), 'ARGUMENT', 'shard.count');
    throwsKind(() => open({ index: 0, count: 2, of: 3 }), 'ARGUMENT', 'of:');
    throwsKind(() => open(3), 'ARGUMENT', 'shard');
    const square = safetensors([floats('lm_head.weight', [d, V], weight)]);
    const turned = folder.file('turned.safetensors', square);
    throwsKind(
      () => LMHead.openSync(turned, { backend, layout: 'dv', shard: { index: 0, count: 2 } }),
      'RANGE',
      'shard:',
      'column by column',
    );
  });
});

it('refuses to merge what does not belong together', () => {
  const path = folder.file(
    'small.safetensors',
    safetensors([floats('lm_head.weight', [9, 2], someNumbers(18))]),
  );
  const state = someNumbers(4, 2);
  const topsOf = (count: number, k: number) => shardsOf(path, count, {}).map(head => head.topKSync(state, k));
  const [a, b] = topsOf(2, 2);
  const [, third] = topsOf(3, 2);
  const [, other] = topsOf(2, 3);
  throwsKind(() => mergeTopK([a]), 'ARGUMENT', 'shards: got 1 of 2, without 1');
  throwsKind(() => mergeTopK([a, a]), 'ARGUMENT', 'shards[1]: got shard 0 again');
  throwsKind(() => mergeTopK([a, third]), 'ARGUMENT', 'shards[1]: got one of 3 shards');
  throwsKind(() => mergeTopK([a, other]), 'SHAPE', 'shards[1]:', 'another call');
  throwsKind(() => mergeTopK([a, { ...b, shard: undefined }]), 'ARGUMENT', 'shards[1]:');
  throwsKind(() => mergeTopK([a, b], { offsets: [0, 5] }), 'RANGE', 'offsets:');
  throwsKind(() => mergeTopK([]), 'ARGUMENT', 'shards:');
  throwsKind(() => mergeTopK(undefined as never), 'ARGUMENT', 'shards:');
  throwsKind(() => mergeScores([a as never, b as never]), 'ARGUMENT', 'shards[0]:', 'score');
  throwsKind(() => mergeSamples([{} as never]), 'ARGUMENT', 'shards[0]:');
  const lost = { ...b, shard: JSON.parse(JSON.stringify(b.shard)) };
  throwsKind(() => mergeTopK([a, lost]), 'ARGUMENT', 'shards[1]:');
  const seeds = shardsOf(path, 2, {}).map((head, seed) => head.sampleSync(state, { seed }));
  throwsKind(() => mergeSamples(seeds), 'SHAPE', 'shards[1]:', 'seed');
});

it('results of heads that know of no whole are merged by their logSumExp', () => {
  const state = someNumbers(2 * d, 2);
  const topOf = (rows: Float32Array) =>
    LMHead.from(rows, { vocabSize: rows.length / d, hiddenSize: d }).topKSync(state, 4);
  const halves = [topOf(weight.subarray(0, 8 * d)), topOf(weight.subarray(8 * d))];
  const whole = topOf(weight);
  const merged = mergeTopK(halves, { offsets: [0, 8] });
  expect(merged.ids).toEqual(whole.ids);
  expect(merged.logits).toEqual(whole.logits);
  expectClose(merged.logProbs, whole.logProbs, { absolute: 1e-5 });
  expectClose(merged.logSumExp, whole.logSumExp, { absolute: 1e-5 });
  throwsKind(() => mergeTopK(halves, { offsets: [0] }), 'ARGUMENT', 'offsets[1]');
});

describe.runIf(backends.includes('native'))('two processes', () => {
  it('each with half of a vocabulary', () => {
    const path = folder.file(
      'halves.safetensors',
      safetensors([floats('model.embed_tokens.weight', [5000, 64], someNumbers(5000 * 64, 7))]),
    );
    const worker = folder.file(
      'half.cjs',
      `const { LMHead } = require(process.env.LMHEAD_ENTRY);
      process.on('message', ({ index, hidden }) => {
        const head = LMHead.openSync(${JSON.stringify(path)}, { shard: { index, count: 2 } });
        process.send({
          topK: head.topKSync(hidden, 9),
          score: head.scoreSync(hidden, [0, 2499, 2500, 4999, 7], { entropy: true }),
          sample: head.sampleSync(hidden, { seed: 3, temperature: 0.8 }),
        }, () => process.disconnect());
      });`,
    );
    const code = `
      const { fork } = require('node:child_process');
      const { isDeepStrictEqual } = require('node:util');
      const hidden = numbers(5 * 64, 3);
      const answers = await Promise.all([0, 1].map(async index => {
        const half = fork(${JSON.stringify(worker)}, { serialization: 'advanced' });
        half.send({ index, hidden });
        return (await once(half, 'message'))[0];
      }));
      const head = LMHead.openSync(${JSON.stringify(path)});
      const whole = {
        topK: head.topKSync(hidden, 9),
        score: head.scoreSync(hidden, [0, 2499, 2500, 4999, 7], { entropy: true }),
        sample: head.sampleSync(hidden, { seed: 3, temperature: 0.8 }),
      };
      for (const [name, merge] of [['topK', 'mergeTopK'], ['score', 'mergeScores'], ['sample', 'mergeSamples']]) {
        const merged = lmhead[merge](answers.map(answer => answer[name]));
        console.log(name, isDeepStrictEqual({ ...merged }, { ...whole[name] }));
      }`;
    expect(endedWell(runWorkers(code))).toBe('topK true\nscore true\nsample true');
  });
});
