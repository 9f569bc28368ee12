import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { dequantize } from '../../lib/dtypes/dequantize';
import { backends } from '../support/backends';
import { conformancePath, describeConformance } from '../support/conformance';
import { rejectsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { gguf, QUANTIZED_TYPES } from '../support/gguf';
import { someNumbers } from '../support/numbers';
import { QUANTIZED, someQuantized, validWidth } from '../support/quantized';
import { safetensors } from '../support/safetensors';

const folder = temporaryFolder();
const V = 37;

describe.each(backends)('%s: files of quantized weights', backend => {
  it.each(QUANTIZED)('%s: saved and opened again, mapped and read', async dtype => {
    const d = validWidth(dtype, 40);
    const weight = someQuantized(dtype, V, d);
    const bias = someNumbers(V, 5);
    const head = LMHead.from(weight, { vocabSize: V, hiddenSize: d, dtype, bias, backend });
    const path = folder.path(`${dtype}.safetensors`);
    await head.save(path);
    const hidden = someNumbers(2 * d, 3);
    for (const mmap of [true, false]) {
      const again = await LMHead.open(path, { backend, mmap });
      expect([again.dtype, again.vocabSize, again.hiddenSize]).toEqual([dtype, V, d]);
      expect(again.logitsSync(hidden)).toEqual(head.logitsSync(hidden));
      expect(again.embed([36])).toEqual(dequantize(weight, dtype, d).subarray(36 * d));
    }
    const copy = folder.path('copy.safetensors');
    LMHead.openSync(path, { backend }).saveSync(copy);
    expect(readFileSync(copy).equals(readFileSync(path))).toBe(true);
    await rejectsKind(
      () => LMHead.open(path, { backend, layout: 'dv', validVocabSize: 1 }),
      'RANGE',
      'layout',
    );
  });

  it.each(Object.entries(QUANTIZED_TYPES) as [keyof typeof QUANTIZED_TYPES, number][])(
    '%s: in a GGUF file, by ggml’s number %i',
    async (dtype, type) => {
      const d = validWidth(dtype, 512);
      const bytes = someQuantized(dtype, V, d);
      const path = folder.file(
        `${dtype}.gguf`,
        gguf([{ name: 'output.weight', type, shape: [V, d], bytes }]),
      );
      for (const mmap of [true, false]) {
        const head = await LMHead.open(path, { backend, mmap });
        expect([head.dtype, head.vocabSize, head.hiddenSize]).toEqual([dtype, V, d]);
        const wanted = LMHead.from(bytes, { vocabSize: V, hiddenSize: d, dtype, backend });
        const hidden = someNumbers(2 * d, 3);
        expect(head.logitsSync(hidden)).toEqual(wanted.logitsSync(hidden));
      }
    },
  );

  it.each([
    ['of another dtype', 'q8_0', 'F32', [V, 34]],
    ['that is none', 'q9_0', 'U8', [V, 34]],
    ['of no whole block', 'q8_0', 'U8', [V, 35]],
    ['of no number at all', 'i8', 'U8', [V, 4]],
    ['with too many dimensions', 'q8_0', 'U8', [V, 34, 1]],
  ])('metadata that names a dtype %s is refused', async (_, named, dtype, shape) => {
    const count = shape.reduce((a, b) => a * b) * (dtype === 'F32' ? 4 : 1);
    const bytes = safetensors([{ name: 'lm_head.weight', dtype, shape, bytes: new Uint8Array(count) }], {
      'lmhead.dtype:lm_head.weight': named,
    });
    const path = folder.file('bad.safetensors', bytes);
    await rejectsKind(() => LMHead.open(path, { backend }), 'FORMAT', 'lmhead.dtype:lm_head.weight');
  });
});

describeConformance('gguf/quants', 'files that ggml has written open as they are', () => {
  it.each([
    ['q8_0', 'q8_0'],
    ['q4_0', 'q4_0'],
    ['q4_K', 'q4_k'],
    ['q6_K', 'q6_k'],
  ])('%s', async (name, dtype) => {
    const wanted = new Float32Array(
      new Uint8Array(readFileSync(conformancePath(`gguf/quants/${name}.deq.f32`)!)).buffer,
    );
    for (const backend of backends) {
      const head = await LMHead.open(conformancePath(`gguf/quants/${name}.gguf`)!, { backend });
      expect(head.dtype).toBe(dtype);
      expect(head.embed(Uint32Array.from({ length: head.vocabSize }, (_, id) => id))).toEqual(wanted);
    }
  });
});
