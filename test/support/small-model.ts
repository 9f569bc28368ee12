/** A model of few parameters, by its parts, which a test puts together as it likes. */
import { LMHead } from '../../lib';
import type { OpenOptions } from '../../lib/types';
import type { Folder } from './folders';
import { someNumbers } from './numbers';
import { floats, safetensors } from './safetensors';
import { warningsOf } from './warnings';

export const [V, D] = [9, 4];
export const output = someNumbers(V * D, 1);
export const embedding = someNumbers(V * D, 2);
export const norm = someNumbers(D, 3);
export const hidden = someNumbers(D, 4);

export const parts = {
  embedding: floats('model.embed_tokens.weight', [V, D], embedding),
  output: floats('lm_head.weight', [V, D], output),
  norm: floats('model.norm.weight', [D], norm),
};
export const llama = {
  model_type: 'llama',
  tie_word_embeddings: true,
  vocab_size: V,
  hidden_size: D,
  rms_norm_eps: 1e-5,
};

/** Writes models' folders. @returns a function that writes one, and returns its path */
export function smallModels(folder: Folder) {
  let count = 0;
  return (
    config: object | string | undefined,
    has: (keyof typeof parts)[],
    tokenizer?: object | string,
  ): string => {
    const name = `model-${count++}`;
    const text = (value: object | string) => (typeof value === 'string' ? value : JSON.stringify(value));
    folder.file(`${name}/model.safetensors`, safetensors(has.map(part => parts[part])));
    if (config) folder.file(`${name}/config.json`, text(config));
    if (tokenizer) folder.file(`${name}/tokenizer.json`, text(tokenizer));
    return folder.path(name);
  };
}

export const openWarned = (path: string, options?: OpenOptions) =>
  warningsOf(() => LMHead.open(path, options));
/** Which matrix makes the logits? */
export const outputOf = (head: LMHead) => {
  const basis = Float32Array.from({ length: D }, (_, k) => (k === 1 ? 1 : 0));
  const first = head.logitsSync(basis)[0];
  return first === output[1] ? 'lm_head' : first === embedding[1] ? 'embedding' : 'neither';
};
