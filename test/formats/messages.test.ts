/** What is said where a head lacks something: the cause, and what to do. */
import { expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { someNumbers } from '../support/numbers';
import { floats, safetensors } from '../support/safetensors';

const V = 7;
const D = 4;
const folder = temporaryFolder();
const matrix = floats('model.embed_tokens.weight', [V, D], someNumbers(V * D, 1));
const norm = floats('model.norm.weight', [D], someNumbers(D, 2));

let made = 0;
function modelOf(tensors: Parameters<typeof safetensors>[0], config?: object): string {
  const name = `model-${made++}`;
  if (config) folder.file(`${name}/config.json`, JSON.stringify(config));
  folder.file(`${name}/model.safetensors`, safetensors(tensors));
  return folder.path(name);
}

it.each<[string, string, object | undefined, ...string[]]>([
  [
    'nothing that describes the model',
    'all',
    undefined,
    'beside model.safetensors is nothing that describes the model',
  ],
  [
    'a type that is not known',
    'matrix',
    { model_type: 'mystery' },
    'models of type "mystery", according to config.json, are not known',
  ],
  [
    'a type that ends without one',
    'all',
    { model_type: 'bert', vocab_size: V, hidden_size: D },
    'no final norm is known of models of type "bert"',
  ],
  [
    'a norm without its weight',
    'matrix',
    { model_type: 'llama', vocab_size: V, hidden_size: D },
    'model.safetensors has no weight of the norm that config.json speaks of',
  ],
])('norm: true with %s', (_, tensors, config, ...words) => {
  const head = LMHead.openSync(modelOf(tensors === 'all' ? [matrix, norm] : [matrix], config));
  const all = ['norm: got true for a head without one (', ...words, '); want the option norm'];
  const hidden = new Float32Array(D);
  throwsKind(() => head.logitsSync(hidden, { norm: true }), 'RANGE', ...all);
  const other = LMHead.attach(structuredClone(head.handle));
  throwsKind(() => other.logitsSync(hidden, { norm: true }), 'RANGE', ...all);
});

it('and of a head that was saved without one', async () => {
  LMHead.from(someNumbers(V * D, 1), { vocabSize: V, hiddenSize: D }).saveSync(
    folder.path('saved.safetensors'),
  );
  const head = LMHead.openSync(folder.path('saved.safetensors'));
  throwsKind(
    () => head.logitsSync(new Float32Array(D), { norm: true }),
    'RANGE',
    '(saved.safetensors has none)',
  );
  expect(head.vocabSize).toBe(V);
});

it('an adapter without its model', () => {
  const name = (part: string) => `base_model.model.model.layers.0.self_attn.q_proj.lora_${part}.weight`;
  const path = folder.file(
    'adapter_model.safetensors',
    safetensors([
      floats(name('A'), [2, D], someNumbers(2 * D, 3)),
      floats(name('B'), [D, 2], someNumbers(2 * D, 4)),
    ]),
  );
  throwsKind(() => LMHead.openSync(path), 'TENSOR', 'only an adapter (LoRA)', 'merged');
});
