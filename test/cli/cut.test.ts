/** `lmhead cut`, and `lmhead info` of an ONNX model. */
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { D, V } from '../onnx/decoder-graph';
import { floatDecoders } from '../onnx/float-decoders';
import { quantizedDecoders } from '../onnx/quantized-decoders';
import { jsonLines, lmhead } from '../support/command';
import { temporaryFolder } from '../support/folders';
import { npy } from '../support/npy';
import { describeOnnxruntime } from '../support/onnxruntime';

const folder = temporaryFolder();
let model: string;
beforeAll(() => {
  model = folder.file('model.onnx', floatDecoders()['bias, scale, mask, soft-cap'].bytes);
});

describe('cut', () => {
  it('writes the body, says what it has found, and replaces nothing without --force', async () => {
    const { code, stdout } = await lmhead(['cut', model]);
    expect(code).toBe(0);
    for (const words of [
      'MatMul + bias + mask + soft-cap + scale',
      'body.onnx',
      'last_hidden_state, F32',
      'exactly',
    ]) {
      expect(stdout).toContain(words);
    }
    const again = await lmhead(['cut', model]);
    expect([again.code, again.stderr]).toEqual([
      2,
      expect.stringContaining('body.onnx exists; want another name, or --force'),
    ]);
    const [report] = await jsonLines(['cut', model, '--force']);
    expect(report).toMatchObject({
      file: model,
      bodyPath: folder.path('body.onnx'),
      softCap: 5,
      vocabSize: V,
    });
    expect((await lmhead(['cut', folder.path('body.onnx'), '-o', folder.path('none.onnx')])).code).toBe(1);
  });

  it('info says what the graph does', async () => {
    const [facts] = await jsonLines(['info', model]);
    expect(facts).toMatchObject({
      vocabSize: V,
      hiddenSize: D,
      dtype: 'f32',
      softCap: 5,
      bias: true,
      tied: false,
    });
  });
});

describeOnnxruntime('cut --verify', () => {
  // The command looks for onnxruntime-node where the user is.
  const here = process.cwd();
  beforeAll(() => process.chdir(resolve(__dirname, '../../examples/onnxruntime')));
  afterAll(() => process.chdir(here));

  it('compares with the whole model, over tokens at random and given ones', async () => {
    const output = folder.path('verified.onnx');
    const ids = folder.file('ids.npy', npy('<i8', [3], new Uint8Array(BigInt64Array.of(5n, 0n, 17n).buffer)));
    for (const [given, positions] of [
      [['--positions', '5'], 5],
      [['--inputs', ids], 3],
    ] as const) {
      const [{ verified }] = await jsonLines(['cut', model, '-o', output, '--force', '--verify', ...given]);
      expect(verified).toMatchObject({ ok: true, positions, sameBest: positions, bound: 1e-5 });
    }
    const integers = folder.file('integers.onnx', quantizedDecoders()['MatMulInteger, u8'].bytes);
    const { code, stdout } = await lmhead(['cut', integers, '-o', output, '--force', '--verify']);
    expect(code).toBe(0);
    expect(stdout).toContain('rounds the hidden states to 8 bits');
    const wrong = folder.file('wrong.npy', npy('<i8', [2], new Uint8Array(BigInt64Array.of(5n, 96n).buffer)));
    const { stderr } = await lmhead(['cut', model, '-o', output, '--force', '--verify', '--inputs', wrong]);
    expect(stderr).toContain(`the token 96 at 1`);
  });
});
