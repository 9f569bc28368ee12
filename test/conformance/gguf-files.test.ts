/** llama.cpp's own files of GGUF. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { LMHead, type LMHeadError } from '../../lib';
import { type GgufHeader, readGguf } from '../../lib/formats/gguf';
import { backends } from '../support/backends';
import { bytesOf } from '../support/bytes';
import { conformancePath, describeConformance } from '../support/conformance';
import { throwsKind } from '../support/errors';
import { fromBytes } from '../support/memory-files';
import { expectClose } from '../support/numbers';

const read = (bytes: Uint8Array): GgufHeader => fromBytes(bytes, size => readGguf('test.gguf', size));

describeConformance('gguf', "llama.cpp's handcrafted files, ggml's own, a vocabulary", () => {
  const verdicts = readFileSync(conformancePath('gguf/handcrafted.tsv')!, 'utf8')
    .trim()
    .split('\n')
    .map(line => line.split('\t') as [file: string, verdict: string]);

  it('are 33', () => {
    expect(verdicts.length).toBe(33);
  });

  it.each(verdicts)('%s: %s', (file, verdict) => {
    const path = conformancePath(`gguf/handcrafted/${file}`)!;
    const bytes = readFileSync(path);
    if (verdict === 'ACCEPT') expect(read(bytes).tensors).toBeInstanceOf(Map);
    else throwsKind(() => read(bytes), 'FORMAT');
    let code: string | undefined;
    try {
      LMHead.openSync(path).close();
    } catch (error) {
      code = (error as LMHeadError).code;
    }
    // A well-formed file need not hold an output matrix.
    if (verdict === 'ACCEPT') expect(code).not.toBe('ERR_LMHEAD_FORMAT');
    else expect(code).toBe('ERR_LMHEAD_FORMAT');
  });

  it('a vocabulary alone', () => {
    const { tensors, metadata } = read(
      readFileSync(conformancePath('gguf/vocab/ggml-vocab-llama-spm.gguf')!),
    );
    expect([tensors.size, metadata.get('tokenizer.ggml.tokens')]).toEqual([
      0,
      { length: 32000, unpadded: 32000 },
    ]);
  });

  describe.each(backends)('%s', backend => {
    it.each(['f32', 'f16', 'bf16'])('%s: the numbers, and the logits of 20 hidden states', type => {
      const floats = (name: string) =>
        new Float32Array(new Uint8Array(readFileSync(conformancePath(name)!)).buffer);
      const head = LMHead.openSync(conformancePath(`gguf/quants/${type}.gguf`)!, { backend });
      expect([head.vocabSize, head.hiddenSize, head.dtype]).toEqual([512, 64, type]);
      const held = head.embed(Array.from({ length: 512 }, (_, i) => i));
      expect(Buffer.compare(bytesOf(held), bytesOf(floats(`gguf/quants/${type}.deq.f32`)))).toBe(0);
      const expected = new Float64Array(
        new Uint8Array(readFileSync(conformancePath(`gguf/quants/${type}.logits20.f64`)!)).buffer,
      );
      const states = floats('stories260K/ref_greedy200/dump_h.bin').subarray(0, 20 * 64);
      expectClose(head.logitsSync(states), expected, { absolute: 2e-5 });
    });

    it('a whole model', () => {
      const head = LMHead.openSync(conformancePath('stories260K/stories260Ktok512.gguf')!, { backend });
      expect([head.vocabSize, head.hiddenSize]).toEqual([512, 64]);
    });
  });
});
