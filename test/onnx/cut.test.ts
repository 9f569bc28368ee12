/** Bodies that `cutHead` writes: with the head they are the whole decoder. */
import { linkSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { cutHead } from '../../lib/onnx';
import { conformancePath } from '../support/conformance';
import { rejectsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { expectClose } from '../support/numbers';
import { describeOnnxruntime, type RuntimeSession, type RuntimeTensor } from '../support/onnxruntime';
import { D, V } from './decoder-graph';
import { everyDecoder, writeDecoder } from './decoders';
import { oddDecoders } from './odd-decoders';

const folder = temporaryFolder();

const MADE = { ...everyDecoder(), ...oddDecoders() };
/** Its workers would spin beside those of other tests. */
const ONE_THREAD = { intraOpNumThreads: 1 };

const bodyOf = (path: string) => path.replace(/model\.onnx$/, 'body.onnx');

describe('cutHead', () => {
  it.each(Object.entries(MADE))('%s: what it says', async (name, made) => {
    const path = writeDecoder(folder, name, made);
    const report = await cutHead(path, { output: bodyOf(path) });
    expect(report).toMatchObject({
      ...{ bodyPath: bodyOf(path), pattern: made.pattern, vocabSize: V, hiddenSize: made.d, tied: made.tied },
      ...{ externalData: Object.keys(made.beside), dtype: made.dtype },
    });
    expect(report.maxWeightError).toBeLessThanOrEqual(made.maxWeightError ?? 0);
    if (made.maxWeightError) expect(report.maxWeightError).toBeGreaterThan(made.maxWeightError / 100);
    // A tied weight stays, one that is the head's alone goes.
    const [whole, body] = [readFileSync(path).length, readFileSync(bodyOf(path)).length];
    if (made.tied && !name.includes('copy')) expect(Math.abs(whole - body)).toBeLessThan(2000);
    else expect(whole - body).toBeGreaterThan((V * D) / 4);
    // What is left has no head.
    await rejectsKind(() => LMHead.open(bodyOf(path)), 'TENSOR', 'last_hidden_state', 'body.onnx');
    await rejectsKind(() => cutHead(bodyOf(path), { output: `${path}.2` }), 'TENSOR', 'no output of logits');
    expect(readdirSync(folder.path(name.replace(/\W+/g, '-'))).sort()).toEqual(
      ['body.onnx', 'model.onnx', ...Object.keys(made.beside)].sort(),
    );
  });

  it('takes URLs, writes over a file only where it may, and never over the model or its data', async () => {
    const path = writeDecoder(folder, 'places', MADE['external data']);
    const url = pathToFileURL(path);
    const output = pathToFileURL(bodyOf(path));
    await cutHead(url, { output });
    const first = readFileSync(output);
    await rejectsKind(() => cutHead(url, { output }), 'IO', 'output', 'exists', 'overwrite');
    writeFileSync(output, 'other');
    await cutHead(url, { output, overwrite: true });
    expect(readFileSync(output)).toEqual(first);
    const whole = readFileSync(path);
    linkSync(path, folder.path('places/link.onnx'));
    symlinkSync(path, folder.path('places/symlink.onnx'));
    for (const name of ['model.onnx', 'link.onnx', 'symlink.onnx']) {
      const itself = { output: folder.path(`places/${name}`), overwrite: true };
      await rejectsKind(() => cutHead(path, itself), 'ARGUMENT', 'the model itself');
    }
    const data = { output: folder.path('places/model.onnx_data'), overwrite: true };
    await rejectsKind(() => cutHead(path, data), 'ARGUMENT', 'the model’s data'.replace('’', "'"));
    mkdirSync(folder.path('places/elsewhere'));
    const elsewhere = { output: folder.path('places/elsewhere/body.onnx') };
    await rejectsKind(() => cutHead(path, elsewhere), 'ARGUMENT', 'model.onnx_data', 'beside');
    await rejectsKind(() => cutHead(path, { output: folder.path('none/body.onnx') }), 'ARGUMENT', 'output');
    expect(readFileSync(path)).toEqual(whole);
    expect(readdirSync(folder.path('places')).filter(name => name.endsWith('.tmp'))).toEqual([]);
  });

  it('refuses arguments that are none', async () => {
    const path = writeDecoder(folder, 'arguments', MADE['MatMul of [d,V]']);
    const cut = cutHead as unknown as (...args: unknown[]) => Promise<unknown>;
    await rejectsKind(() => cut(path), 'ARGUMENT', 'options');
    await rejectsKind(() => cut(path, {}), 'ARGUMENT', 'output', 'undefined');
    await rejectsKind(() => cut(path, { output: 3 }), 'ARGUMENT', 'output');
    await rejectsKind(() => cut(path, { output: 'x', over: true }), 'ARGUMENT', 'over', 'overwrite');
    await rejectsKind(() => cut(path, { output: 'x', overwrite: 1 }), 'ARGUMENT', 'overwrite');
    await rejectsKind(() => cut(3, { output: 'x' }), 'ARGUMENT', 'path');
    await rejectsKind(() => cut(folder.path('none.onnx'), { output: folder.path('x') }), 'IO', 'none.onnx');
    await rejectsKind(() => cut(folder.path(), { output: folder.path('x') }), 'IO', 'a folder');
    const head = await LMHead.open(path);
    await head.save(folder.path('head.safetensors'));
    head.close();
    const other = folder.path('head.safetensors');
    await rejectsKind(() => cut(other, { output: folder.path('x') }), 'FORMAT', 'no ONNX model');
  });
});

describeOnnxruntime('in onnxruntime the body and the head are the whole', ({ InferenceSession, Tensor }) => {
  const floats = (count: number, seed: number) =>
    Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898 + seed) / 2);

  /** The largest difference of the logits, over the largest logit. */
  const difference = async (path: string, feeds: Record<string, RuntimeTensor>): Promise<number> => {
    const output = path.startsWith(folder.path()) ? bodyOf(path) : folder.path('conformance.onnx');
    const { logits } = await cutHead(path, { output, overwrite: true });
    const [whole, body] = [
      await InferenceSession.create(path, ONE_THREAD),
      await InferenceSession.create(output, ONE_THREAD),
    ];
    const names = ({ outputMetadata }: RuntimeSession) => outputMetadata.map(({ name }) => name);
    expect(names(body)).toEqual(names(whole).map(name => (name === logits ? 'last_hidden_state' : name)));
    expect(body.inputMetadata).toEqual(whole.inputMetadata);
    const [a, b] = [await whole.run(feeds), await body.run(feeds)];
    for (const name of names(whole)) if (name !== logits) expect(b[name].data).toEqual(a[name].data);
    const head = await LMHead.open(path);
    const { data, type, dims } = b.last_hidden_state;
    const n = dims.slice(0, -1).reduce((x, y) => x * y);
    const found = await head.logits({ data, type, dims: [n, dims.at(-1)!] });
    const { 'present.0.key': made } = a;
    // Without a past, what the body has embedded.
    if (made?.dims[1] === feeds.input_ids.dims[1] && made.type === 'float32') {
      expectClose(head.embed(feeds.input_ids.data), made.data, { relative: 1e-6 });
    }
    const wanted = a[logits].data as Float32Array;
    expect(found.length).toBe(wanted.length);
    let largest = 0;
    let most = 0;
    found.forEach((x, i) => {
      if (x === wanted[i]) return; // masked, maybe
      largest = Math.max(largest, Math.abs(wanted[i]));
      most = Math.max(most, Math.abs(x - wanted[i]));
    });
    head.close();
    await Promise.all([whole.release(), body.release()]);
    return most / largest;
  };

  it.each(Object.entries(MADE))('%s', async (name, made) => {
    const path = writeDecoder(folder, `run ${name}`, made);
    const half = made.type === 'f16';
    for (const past of [0, 4]) {
      const ids = new Tensor('int64', BigInt64Array.of(5n, 0n, 95n, 17n, 17n, 3n), [2, 3]);
      const { d } = made;
      const count = 2 * past * d;
      const cache = half
        ? new Tensor('float16', new Uint16Array(count).fill(0x2c00), [2, past, d])
        : new Tensor('float32', floats(count, 3), [2, past, d]);
      const feeds = { input_ids: ids, 'past_key_values.0.key': cache };
      const branch = { use_cache_branch: new Tensor('bool', [past > 0], [1]) };
      const all = name === 'a merged decoder' ? { ...feeds, ...branch } : feeds;
      expect(await difference(path, all)).toBeLessThan(made.tolerance);
    }
  });

  const [gpt2, lfm2] = ['gpt2-f32', 'lfm2-f32'].map(name => conformancePath(`onnx-decoders/${name}.onnx`));
  it.skipIf(!gpt2)('gpt2-f32', async () => {
    const [T, past] = [4, 3];
    const words = (numbers: number[], shape: number[]) =>
      new Tensor('int32', Int32Array.from(numbers), shape);
    const feeds: Record<string, RuntimeTensor> = {
      input_ids: words([1, 2, 998, 500], [1, T]),
      position_ids: words([3, 4, 5, 6], [1, T]),
      attention_mask: words(Array(T + past).fill(1), [1, T + past]),
    };
    for (let i = 0; i < 5; i++) {
      feeds[`past_${i}`] = new Tensor('float32', floats(2 * 4 * past * 8, i), [2, 1, 4, past, 8]);
    }
    expect(await difference(gpt2!, feeds)).toBeLessThan(2e-6);
  });

  it.skipIf(!lfm2)('lfm2-f32', async () => {
    const [T, past] = [4, 3];
    const words = (numbers: number[], shape: number[]) =>
      new Tensor('int64', BigInt64Array.from(numbers, BigInt), shape);
    const feeds: Record<string, RuntimeTensor> = {
      input_ids: words([1, 2, 998, 500], [1, T]),
      position_ids: words([3, 4, 5, 6], [1, T]),
      attention_mask: words(Array(T + past).fill(1), [1, T + past]),
    };
    for (const i of [1, 3]) {
      for (const part of ['key', 'value']) {
        feeds[`past_key_values.${i}.${part}`] = new Tensor('float32', floats(4 * past * 8, i), [
          1,
          4,
          past,
          8,
        ]);
      }
    }
    for (const i of [0, 2]) feeds[`past_conv.${i}`] = new Tensor('float32', floats(32 * 4, i), [1, 32, 4]);
    expect(await difference(lfm2!, feeds)).toBeLessThan(2e-6);
  });
});
