/** A small folder of each family, by the names and keys that its published models have; and the head's arithmetic by hand. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { FAMILIES } from '../../lib/formats/model-families';
import { backends } from '../support/backends';
import { throwsKind } from '../support/errors';
import { temporaryFolder } from '../support/folders';
import { expectClose, someNumbers } from '../support/numbers';
import { floats, safetensors } from '../support/safetensors';
import { warningsOf } from '../support/warnings';
import { encodersFamilies } from './families/encoders';
import { D, type Family, tensor, V } from './families/family';
import { plainFamilies } from './families/plain';
import { scaledFamilies } from './families/scaled';
import { severalPartsFamilies } from './families/several-parts';
import { stateSpaceFamilies } from './families/state-space';

const hidden = someNumbers(2 * D, 1);
const folder = temporaryFolder();
const families = {
  ...plainFamilies,
  ...scaledFamilies,
  ...severalPartsFamilies,
  ...stateSpaceFamilies,
  ...encodersFamilies,
};

/** As Python writes it: with Infinity, which JSON does not have. */
const pythonJson = (config: object) =>
  JSON.stringify(config, (_, value: unknown) => (value === Infinity ? '∞' : value)).replace(
    '"∞"',
    'Infinity',
  );

function folderOf(name: string, family: Family): string {
  const tensors = [
    floats('model.layers.0.mlp.weight', [D, D], someNumbers(D * D, 9)),
    floats(family.embedding, [V, D], tensor.embedding),
  ];
  for (const [name, shape] of Object.entries(family.others ?? {})) {
    tensors.push(floats(name, shape, new Float32Array(shape.reduce((a, b) => a * b)).fill(77)));
  }
  if (family.norm) tensors.push(floats(family.norm, [D], tensor.normWeight));
  if (family.output) tensors.push(floats(family.output, [V, D], tensor.output));
  if (family.bias) tensors.push(floats(family.bias, family.biasShape ?? [V], tensor.bias));
  if (family.normBias) tensors.push(floats(family.normBias, [D], tensor.normBias));
  folder.file(join(name, 'config.json'), pythonJson(family.config));
  folder.file(join(name, 'model.safetensors'), safetensors(tensors));
  return folder.path(name);
}

describe.each(Object.entries(families))('%s', (name, family) => {
  it.each(backends)('%s', async backend => {
    const { result: head, warnings } = await warningsOf(() =>
      LMHead.open(folderOf(name, family), { backend }),
    );
    expect(warnings).toEqual([]);
    expect([head.vocabSize, head.hiddenSize, head.tied]).toEqual([V, D, !family.output]);

    const E = family.output ? tensor.output : tensor.embedding;
    const logits = (h: ArrayLike<number>) =>
      Array.from({ length: V }, (_, id) => {
        let dot = 0;
        for (let k = 0; k < D; k++) dot += h[k] * E[id * D + k];
        if (family.unitRows) dot /= Math.hypot(...E.subarray(id * D, (id + 1) * D));
        if (family.bias) dot += tensor.bias[id];
        return family.logit ? family.logit(dot) : dot;
      });
    const rows = [hidden.subarray(0, D), hidden.subarray(D)];
    const near = { absolute: 1e-6, relative: 2e-6 };
    expectClose(head.logitsSync(hidden), rows.flatMap(logits), near);
    const { normOf } = family;
    if (normOf) {
      const expected = rows.flatMap(h => logits(normOf(h)));
      expectClose(head.logitsSync(hidden, { norm: true }), expected, near);
    } else throwsKind(() => head.logitsSync(hidden, { norm: true }), 'RANGE', 'norm');
    const embedded = tensor.embedding.subarray(3 * D, 4 * D).map(x => x * (family.embeds ?? 1));
    expectClose(head.embed([3]), embedded, near);
    head.close();
  });
});

it('docs/model-families.md has every type', () => {
  const text = readFileSync(join(__dirname, '../../docs/model-families.md'), 'utf8');
  const types = [...text.matchAll(/`([\w-]+)`/g)].map(([, type]) => type);
  for (const type of FAMILIES.keys()) expect(types).toContain(type);
});

// As the families' configuration classes have them.
it.each([
  [
    1e-6,
    'llama mistral qwen2 qwen3 seed_oss minimax_m2 deepseek_v3 kimi_k2 smollm3 gemma gemma2 gemma3_text gemma4_text',
  ],
  [1e-6, 'qwen3_next qwen3_5_text granite jamba flex_olmo dots1 recurrent_gemma t5 mt5 umt5 internlm2'],
  [
    1e-5,
    'mixtral phi3 gpt_oss olmo2 olmo3 olmoe llama4_text mllama_text_model glm4_moe glm4_moe_lite ministral3',
  ],
  [
    1e-5,
    'exaone4 hunyuan_v1_dense bitnet falcon_h1 lfm2 nemotron_h mamba falcon_mamba olmo rwkv whisper phimoe',
  ],
  [
    1e-5,
    'qwen2_vl_text qwen2_5_vl_text ernie4_5 minicpm3 gpt2 gpt_neox phi cohere starcoder2 nemotron afmoe',
  ],
  [1.5625e-7, 'glm glm4'],
  [1e-8, 'helium'],
])('eps %f where the config has none: %s', (eps, types) => {
  for (const type of types.split(' ')) {
    const norm = FAMILIES.get(type)?.norm;
    expect([type, typeof norm === 'object' && norm.eps[1]]).toEqual([type, eps]);
  }
});

it.each([
  [
    true,
    'gpt2 gemma gemma2 gemma3_text gemma4_text recurrent_gemma cohere lfm2 mamba t5 bart marian whisper bert',
  ],
  [true, 'smollm3 ernie4_5 zamba2 minicpm3 starcoder2 falcon opt xglm'],
  [
    false,
    'llama qwen3 mistral phi phi3 gpt_neox olmo2 glm4 mamba2 nemotron nemotron_h falcon_h1 granite rwkv',
  ],
])('tied %s where the config has no word on it: %s', (tied, types) => {
  for (const type of types.split(' ')) expect([type, FAMILIES.get(type)?.tied]).toEqual([type, tied]);
});
