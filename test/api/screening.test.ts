import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { nativeUnavailable } from '../../lib/backend/addon';
import type { BlockDtype } from '../../lib/dtypes/row-format';
import type { FloatDtype, HeadOptions } from '../../lib/types';
import { rejectsKind, throwsKind } from '../support/errors';
import { someQuantized } from '../support/quantized';
import {
  bothHeads,
  expectSameAnswers,
  SCREENED_D,
  SCREENED_V,
  screenedStates,
  screenedWeights,
} from '../support/screened';

/** What a call throws, as words. */
function words(call: () => unknown): string {
  try {
    call();
    return '';
  } catch (error) {
    return String(error);
  }
}

const sizes = { vocabSize: SCREENED_V, hiddenSize: SCREENED_D };
const weight = screenedWeights(1);
const folder = mkdtempSync(join(tmpdir(), 'lmhead-screening-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe.skipIf(nativeUnavailable())('a head that screens', () => {
  const variants: [FloatDtype | BlockDtype, what: string, options: Partial<HeadOptions>][] = [
    ['f32', 'nothing else', {}],
    [
      'f32',
      'scale, cap and padding',
      { threads: 1, softCap: 8, logitScale: 0.37, validVocabSize: SCREENED_V - 70 },
    ],
    ['f32', 'a bias', { threads: 3, bias: Float32Array.from({ length: SCREENED_V }, (_, i) => (i % 7) / 3) }],
    ['bf16', 'cap, then scale', { threads: 7, softCap: 3, capOrder: 'cap-then-scale', logitScale: 2.5 }],
    ['f16', 'a negative scale', { threads: 2, logitScale: -1 }],
    ['q8_0', 'nothing else', {}],
    ['i8', 'passes of its own', { coalesce: false }],
    ['q6_k', 'two threads', { threads: 2 }],
  ];
  it.each(variants)('of %s with %s gives what a head without it gives', async (dtype, _, options) => {
    const heads = bothHeads(dtype, weight, options);
    await expectSameAnswers(heads, weight, 5);
    const { passes, fullPasses, bytes, survivors } = heads.screened.screening!;
    expect(heads.plain.screening).toBeUndefined();
    expect(bytes).toBeGreaterThan(SCREENED_V * SCREENED_D * 0.5);
    expect(bytes).toBeLessThan(SCREENED_V * SCREENED_D * 0.6);
    if (options.logitScale === -1) {
      expect(passes + fullPasses).toBe(12); // of nearest alone, which has no scale
      return;
    }
    expect(passes).toBeGreaterThan(20);
    expect(survivors.mean).toBeGreaterThanOrEqual(1);
    expect(survivors.max).toBeGreaterThanOrEqual(survivors.mean);
    expect(survivors.max).toBeLessThan(SCREENED_V / 2);
    heads.plain.close();
    heads.screened.close();
    throwsKind(() => heads.screened.screening, 'CLOSED');
  });

  it('refuses what a head without it refuses, in the same words', async () => {
    const odd = weight.slice();
    odd[700 * SCREENED_D + 3] = Number.NaN;
    odd[900 * SCREENED_D + 1] = Number.POSITIVE_INFINITY;
    const { screened, plain } = bothHeads('f32', odd, {});
    const states = [
      screenedStates(1, weight, 3),
      new Float32Array(SCREENED_D),
      new Float32Array(SCREENED_D).fill(Number.NaN),
      new Float32Array(SCREENED_D).fill(3e38),
      new Float32Array(SCREENED_D).fill(1e-45),
    ];
    for (const h of states) {
      const of = (head: LMHead) => words(() => head.argmaxSync(h));
      expect(of(screened)).toBe(of(plain));
      const later = await Promise.allSettled([screened.argmax(h), plain.argmax(h)]);
      expect(later[0].status).toBe(later[1].status);
      if (later[0].status === 'rejected' && later[1].status === 'rejected') {
        expect(later[0].reason.message).toBe(later[1].reason.message);
      }
    }
    expect(screened.screening!.fullPassesBy.states).toBeGreaterThan(0);
    expect(screened.argmaxSync(new Float32Array(0))).toEqual(new Uint32Array(0));
  });

  it('tells why it took full passes', () => {
    // Equal rows are all within reach of the best.
    const equal = new Float32Array(SCREENED_V * SCREENED_D).fill(0.25);
    const head = LMHead.from(equal, { ...sizes, screen: true });
    const h = new Float32Array(SCREENED_D).fill(1);
    for (let i = 0; i < 10; i++) expect(head.argmaxSync(h)[0]).toBe(0);
    const { passes, fullPasses, fullPassesBy } = head.screening!;
    expect([passes, fullPasses]).toEqual([0, 10]);
    expect(fullPassesBy).toEqual({ manyRows: 3, backoff: 7, states: 0 }); // the first, and two that the others paid for
  });

  it('gives as many ids as asked for, of weights that have changed since they were copied', () => {
    const shared = new Float32Array(new SharedArrayBuffer(weight.byteLength));
    shared.set(weight);
    const head = LMHead.from(shared, { ...sizes, screen: true, copy: false });
    const h = screenedStates(1, weight, 8);
    for (const change of [-1, 1e-3, 1e6, 0]) {
      for (let i = 0; i < shared.length; i++) shared[i] = change * weight[shared.length - 1 - i];
      const { ids } = head.topKSync(h, 40, { withLogProbs: false });
      expect(new Set(ids).size).toBe(40);
      for (const id of ids) expect(id).toBeLessThan(SCREENED_V);
      expect(head.sampleSync(h, { withLogProbs: false, seed: 1 }).ids[0]).toBeLessThan(SCREENED_V);
    }
  });

  it('is opened with progress, and until an abort', async () => {
    const path = join(folder, 'wide.safetensors');
    const [vocabSize, hiddenSize] = [30_000, 256];
    await LMHead.from(
      Float32Array.from({ length: vocabSize * hiddenSize }, (_, i) => Math.sin(i)),
      { vocabSize, hiddenSize },
    ).save(path);
    const shares: number[] = [];
    const head = await LMHead.open(path, { screen: true, onProgress: share => shares.push(share) });
    expect(head.screening!.bytes).toBeGreaterThan(0);
    expect(shares.at(-1)).toBe(1);
    expect(shares).toEqual([...shares].sort((a, b) => a - b));
    for (const share of shares) expect(share).toBeGreaterThanOrEqual(0);

    const failure = new Error('enough');
    const failing = LMHead.open(path, {
      screen: true,
      onProgress: () => {
        throw failure;
      },
    });
    await expect(failing).rejects.toBe(failure);

    const controller = new AbortController();
    const { signal } = controller;
    const stopped = LMHead.open(path, { screen: true, signal });
    setImmediate(() => controller.abort());
    await rejectsKind(() => stopped, 'ABORTED', 'aborted');
    await rejectsKind(() => LMHead.open(path, { signal }), 'ABORTED', 'before it began');
    const alive = new AbortController().signal;
    expect((await LMHead.open(path, { signal: alive })).screening).toBeUndefined();
    throwsKind(() => LMHead.openSync(path, { signal: alive }), 'ARGUMENT', 'signal', 'openSync');
    await rejectsKind(() => LMHead.open(path, { onProgress: 1 as never }), 'ARGUMENT', 'onProgress: got 1');
  });

  it('is opened, quantized and attached', async () => {
    const path = join(folder, 'head.safetensors');
    const made = LMHead.from(weight, sizes);
    await made.save(path);
    const h = screenedStates(1, weight, 8);
    const want = made.argmaxSync(h);
    const opened = await LMHead.open(path, { screen: true });
    const openedAtOnce = LMHead.openSync(path, { screen: true });
    const attached = LMHead.attach(opened.handle);
    for (const head of [opened, openedAtOnce, attached]) {
      expect(head.argmaxSync(h)).toEqual(want);
      expect(await head.argmax(h)).toEqual(want);
      const none = { manyRows: 0, backoff: 0, states: 0 };
      expect(head.screening).toMatchObject({ passes: 2, fullPasses: 0, fullPassesBy: none });
    }
    const { head: quantized } = await made.quantize('q8_0', { screen: true });
    const { head: plain } = await opened.quantize('q8_0');
    expect(quantized.argmaxSync(h)).toEqual(plain.argmaxSync(h));
    expect(quantized.screening!.passes).toBe(1);
    expect(plain.screening).toBeUndefined();
    expect(made.screening).toBeUndefined();
  });

  it.each(['f32', 'q6_k'] as const)(
    'is saved with its copy, and opened with it in place: %s',
    async dtype => {
      const { screened, plain } = bothHeads(dtype, weight, { bias: new Float32Array(SCREENED_V).fill(0.5) });
      const path = join(folder, `copy-${dtype}.safetensors`);
      await screened.save(path);
      const h = screenedStates(2, weight, 21);
      const want = plain.sampleSync(h, { topK: 5, seed: 2 });
      const bytes = screened.screening!.bytes;
      const opened = [
        await LMHead.open(path),
        LMHead.openSync(path),
        await LMHead.open(path, { mmap: false }),
      ];
      for (const head of opened) {
        expect(head.screening).toMatchObject({ bytes, passes: 0 });
        expect(head.sampleSync(h, { topK: 5, seed: 2 })).toEqual(want);
        expect(await head.sample(h.subarray(0, SCREENED_D), { temperature: 0 })).toEqual(
          plain.sampleSync(h.subarray(0, SCREENED_D), { temperature: 0 }),
        );
        expect(head.screening!.passes).toBeGreaterThan(0);
        expect(head.logitsSync(h)).toEqual(plain.logitsSync(h));
      }
      expect((await LMHead.open(path, { screen: false })).screening).toBeUndefined();
      if (dtype === 'q6_k')
        expect((await LMHead.open(path, { activations: 'i8' })).screening).toBeUndefined();
      const again = join(folder, `again-${dtype}.safetensors`);
      opened[0].saveSync(again);
      expect(readFileSync(again).equals(readFileSync(path))).toBe(true);
      // Bytes that cannot be a copy.
      const damaged = readFileSync(path);
      damaged.fill(
        0xff,
        damaged.readUInt32LE(0) + 8,
        damaged.readUInt32LE(0) + 8 + bytes + 4 * SCREENED_D + 4,
      );
      const broken = join(folder, `broken-${dtype}.safetensors`);
      writeFileSync(broken, damaged);
      await rejectsKind(() => LMHead.open(broken), 'FORMAT', 'the copy that screen keeps');
      expect((await LMHead.open(broken, { screen: false })).argmaxSync(h)).toEqual(plain.argmaxSync(h));
    },
  );

  it('tells of an aborted quantization as ever', async () => {
    const made = LMHead.from(weight, sizes);
    const stop = new AbortController();
    const aborted = rejectsKind(() => made.quantize('i8', { screen: true, signal: stop.signal }), 'ABORTED');
    stop.abort();
    await aborted;
  });
});

it.each(['native', 'reference'] as const)('with the %s backend is refused where it cannot pay', backend => {
  if (backend === 'native' && nativeUnavailable()) return;
  const make = (dtype: BlockDtype, options: Partial<HeadOptions> = {}) =>
    LMHead.from(someQuantized(dtype, 4, SCREENED_D), {
      vocabSize: 4,
      hiddenSize: SCREENED_D,
      dtype,
      backend,
      screen: true,
      ...options,
    });
  for (const dtype of ['q4_0', 'q4_k', 'iq4_nl', 'q2_k', 'q3_k', 'iq4_xs', 'mxfp4'] as const) {
    throwsKind(() => make(dtype), 'DTYPE', `screen: got true for weights in ${dtype}`);
  }
  throwsKind(() => make('i8', { activations: 'i8' }), 'RANGE', "screen: got true with activations 'i8'");
  for (const dtype of ['i8', 'q8_0', 'q6_k', 'q5_k', 'q5_0', 'q5_1'] as const) {
    expect(make(dtype).argmaxSync(new Float32Array(SCREENED_D))).toHaveLength(1);
  }
  throwsKind(() => make('i8', { screen: 1 as unknown as boolean }), 'ARGUMENT', 'screen');
});

it('has no copy with the reference backend', () => {
  const head = LMHead.from(new Float32Array(6), {
    vocabSize: 3,
    hiddenSize: 2,
    backend: 'reference',
    screen: true,
  });
  expect(head.screening).toBeUndefined();
});
