import { mkdtempSync, rmSync } from 'node:fs';
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
    expect(passes).toBeGreaterThan(fullPasses);
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
    expect(screened.argmaxSync(new Float32Array(0))).toEqual(new Uint32Array(0));
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
      expect(head.screening).toMatchObject({ passes: 2, fullPasses: 0 });
    }
    const { head: quantized } = await made.quantize('q8_0', { screen: true });
    const { head: plain } = await opened.quantize('q8_0');
    expect(quantized.argmaxSync(h)).toEqual(plain.argmaxSync(h));
    expect(quantized.screening!.passes).toBe(1);
    expect(plain.screening).toBeUndefined();
    expect(made.screening).toBeUndefined();
  });

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
