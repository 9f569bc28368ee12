/** Translators of a tuned lens, from files of every kind. */
import { describe, expect, it } from 'vitest';
import { LMHead, loadTranslators } from '../../lib';
import { bytesOf } from '../support/bytes';
import { rejectsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { npy } from '../support/npy';
import { someNumbers } from '../support/numbers';
import { floats, safetensors } from '../support/safetensors';
import { zip } from '../support/zip';

const D = 4;
const LAYERS = 3;
const folder = temporaryFolder();
const weights = Array.from({ length: LAYERS }, (_, i) => someNumbers(D * D, i + 1));
const biases = Array.from({ length: LAYERS }, (_, i) => someNumbers(D, i + 11));
const joined = (arrays: Float32Array[]) => Float32Array.from(arrays.flatMap(array => [...array]));
const expected = (residual: boolean) => weights.map((weight, i) => ({ weight, bias: biases[i], residual }));

const perLayer = (prefix: string) =>
  safetensors(
    [2, 0, 1].flatMap(i => [
      floats(`${prefix}${i}.weight`, [D, D], weights[i]),
      floats(`${prefix}${i}.bias`, [D], biases[i]),
    ]),
  );

describe('loadTranslators', () => {
  it.each(['', 'layer_translators.', 'a.b.'])(
    'takes tensors per layer, named %j and a number',
    async prefix => {
      const file = folder.file('params.safetensors', perLayer(prefix));
      expect(await loadTranslators(file)).toEqual(expected(true));
      expect(await loadTranslators(file, { residual: false })).toEqual(expected(false));
    },
  );

  it('takes stacked ones, also of an .npz', async () => {
    const [w, b] = [joined(weights), joined(biases)];
    const file = folder.file(
      'stacked.safetensors',
      safetensors([floats('weight', [LAYERS, D, D], w), floats('bias', [LAYERS, D], b)]),
    );
    expect(await loadTranslators(file)).toEqual(expected(true));
    const archive = zip([
      ['weight.npy', npy('<f4', [LAYERS, D, D], bytesOf(w))],
      ['bias.npy', npy('<f8', [LAYERS, D], bytesOf(Float64Array.from(b)))],
    ]);
    expect(await loadTranslators(folder.file('stacked.npz', archive))).toEqual(expected(true));
  });

  it('leaves out layers and biases that are not there', async () => {
    const file = folder.file(
      'gaps.safetensors',
      safetensors([floats('1.weight', [D, D], weights[1]), floats('other', [2], new Float32Array(2))]),
    );
    const translators = await loadTranslators(file);
    expect(translators).toEqual([undefined, { weight: weights[1], bias: undefined, residual: true }]);
    const norm = { type: 'rmsnorm', weight: new Float32Array(D).fill(1), eps: 1e-5 } as const;
    const head = LMHead.from(someNumbers(9 * D, 7), { vocabSize: 9, hiddenSize: D, norm });
    const hidden = someNumbers(2 * D, 8);
    const plain = head.lensSync(hidden, 9);
    const tuned = head.lensSync(hidden, 9, { translators });
    expect(tuned.logits.slice(0, 9)).toEqual(plain.logits.slice(0, 9));
    expect(tuned.logits.slice(9)).not.toEqual(plain.logits.slice(9));
  });

  it('refuses what holds none', async () => {
    const wrong = (tensors: Parameters<typeof safetensors>[0]) =>
      loadTranslators(folder.file('wrong.safetensors', safetensors(tensors)));
    const one = new Float32Array(1);
    await rejectsKind(
      () => wrong([floats('a', [1], one)]),
      'TENSOR',
      'translators: wrong.safetensors has no weight; want',
    );
    await rejectsKind(() => wrong([floats('0.bias', [1], one)]), 'TENSOR', 'has no weight of layer 0');
    await rejectsKind(
      () => wrong([floats('a.0.weight', [1, 1], one), floats('b.0.weight', [1, 1], one)]),
      'TENSOR',
      'has "a.0.weight" and "b.0.weight"; want one weight per layer',
    );
    await rejectsKind(
      () => wrong([floats('0.weight', [2, 3], new Float32Array(6))]),
      'SHAPE',
      'translators: "0.weight" in wrong.safetensors is [2,3]; want [2,2]',
    );
    await rejectsKind(
      () => wrong([floats('0.weight', [1, 1], one), floats('1.weight', [2, 2], new Float32Array(4))]),
      'SHAPE',
      '"1.weight" in wrong.safetensors is [2,2]; want [1,1]',
    );
    await rejectsKind(() => wrong([floats('weight', [1, 1], one)]), 'SHAPE', 'is [1,1]; want [1,1,1]');
    await rejectsKind(
      () => wrong([{ name: '0.weight', dtype: 'I64', shape: [1, 1], bytes: new Uint8Array(8) }]),
      'DTYPE',
      '0.weight',
    );
    await rejectsKind(() => loadTranslators(folder.path('absent')), 'IO', 'absent');
    await rejectsKind(() => loadTranslators(5 as never), 'ARGUMENT', 'path: got 5');
    await rejectsKind(() => loadTranslators('x', { residual: 1 as never }), 'ARGUMENT', 'residual: got 1');
  });
});
