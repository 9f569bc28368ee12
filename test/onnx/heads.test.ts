/** Heads in ONNX files: what `LMHead.open` makes of them. */
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { openHead } from '../../lib/head/open';
import { backends } from '../support/backends';
import { conformancePath, describeConformance } from '../support/conformance';
import { throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { expectClose, someNumbers } from '../support/numbers';
import { expectMerged, shardsOf } from '../support/shards';
import { V } from './decoder-graph';
import { everyDecoder, writeDecoder } from './decoders';
import { oddDecoders, unrunDecoders } from './odd-decoders';

const folder = temporaryFolder();

const MADE = { ...everyDecoder(), ...oddDecoders(), ...unrunDecoders() };

/** Of which all rows come into memory one after another. */
const IN_ROWS = ['halves as integers', 'f64, cast to f32'];

describe.each(backends)('%s', backend => {
  it.each(Object.entries(MADE))('%s', async (name, made) => {
    const { d, weight, of, embedding, tied, dtype, maxWeightError = 0 } = made;
    const path = writeDecoder(folder, name, made);
    const head = await LMHead.open(path, { backend });
    expect(head).toMatchObject({ vocabSize: V, hiddenSize: d, tied, dtype });
    const n = 3;
    const hidden = someNumbers(n * d, 11);
    const expected = Float64Array.from({ length: n * V }, (_, i) => {
      const [row, id] = [Math.floor(i / V), i % V];
      let product = 0;
      for (let k = 0; k < d; k++) product += hidden[row * d + k] * weight[id * d + k];
      return of(product, id);
    });
    expectClose(head.logitsSync(hidden), expected, { absolute: 2e-5 + d * maxWeightError, relative: 1e-6 });
    const ids = [0, V - 1, 7];
    const rows = ids.flatMap(id => [...embedding!.subarray(id * d, (id + 1) * d)]);
    expectClose(head.embed(ids), rows, { relative: 1e-6 });
    const again = LMHead.openSync(path, { backend, mmap: false });
    expect(again.logitsSync(hidden)).toEqual(head.logitsSync(hidden));
    again.close();
    head.close();
  });

  it.each(Object.entries(MADE))('%s: saved, handed on, in shards', async (name, made) => {
    const path = writeDecoder(folder, `kept ${name}`, made);
    const head = await LMHead.open(path, { backend });
    const hidden = someNumbers(3 * made.d, 12);
    const ids = [0, V - 1, 7];
    const saved = folder.path(`${backend} ${name.replace(/\W+/g, '-')}.safetensors`);
    await head.save(saved);
    const others = [await LMHead.open(saved, { backend })];
    if (backend === 'native') others.push(LMHead.attach(structuredClone(head.handle)));
    for (const other of others) {
      expect(other).toMatchObject({
        vocabSize: V,
        dtype: head.dtype,
        tied: head.tied,
      });
      expect(other.logitsSync(hidden)).toEqual(head.logitsSync(hidden));
      expect(other.embed(ids)).toEqual(head.embed(ids));
      other.close();
    }
    // Rows that are not stored one after another are in what was saved.
    const ownEmbedding = name.startsWith('an embedding of ');
    const inRows = (made.mapped && !ownEmbedding) || IN_ROWS.includes(name);
    if (!inRows) throwsKind(() => shardsOf(path, 3, { backend }), 'RANGE', 'shard: ', 'save');
    for (const file of inRows ? [path, saved] : [saved]) {
      const shards = shardsOf(file, 3, { backend });
      expectMerged(shards, head, hidden);
      for (const shard of shards) shard.close();
    }
    head.close();
  });

  it.skipIf(backend === 'reference')('weights are used in place, as far as they may be', async () => {
    for (const [name, made] of Object.entries(MADE)) {
      const { spec, backend: held } = await openHead(writeDecoder(folder, name, made));
      held.close();
      const { output } = spec;
      const inPlace = output.kind === 'file' && output.layout === 'vd';
      expect({ name, inPlace }).toEqual({ name, inPlace: made.mapped ?? false });
    }
  });
});

describeConformance('onnx-decoders', 'of onnxruntime-genai', () => {
  it.each([
    ['gpt2-f32', 1000, 32, true, true],
    ['lfm2-f32', 1000, 32, false, true],
    ['text-decoder', 10, 64, false, false],
  ])('%s', async (name, vocabSize, hiddenSize, tied, embeds) => {
    const head = await LMHead.open(conformancePath(`onnx-decoders/${name}.onnx`)!);
    expect(head).toMatchObject({ vocabSize, hiddenSize, dtype: 'f32', tied });
    if (embeds) expect(head.embed([1]).length).toBe(hiddenSize);
    else expect(() => head.embed([1])).toThrow('looks up no ids');
    head.close();
  });
});
