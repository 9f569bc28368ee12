/**
 * The model that is served where none is named: the small one of examples/tiny-lm as a folder of an ONNX decoder, a tokenizer.json and a
 * chat template. Single characters, which it was not trained on, are tokens too: with a bias that leaves them to grammars.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { decoder } from '../onnxruntime/decoder.mjs';
import { tokenizerJson } from '../onnxruntime/tokenizer-json.mjs';
import { EMBEDDING, loadModel } from '../tiny-lm/model.mjs';

const ASSET = new URL('../../assets/tiny-lm.safetensors', import.meta.url);
/** Those that close something come first: of equal logits, greedy takes the lowest id. */
const CHARACTERS = [...'"}],{[:▁-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'];
const UNLIKELY = -20;

/** @param {string} folder that is there */
export function writeShippedModel(folder) {
  const { config, tensors, tokenizer } = loadModel(ASSET);
  const words = tokenizer.vocabulary;
  const characters = CHARACTERS.filter(character => !words.includes(character) || /\p{L}/u.test(character));
  const vocabSize = words.length + characters.length;
  const { values, shape } = tensors[EMBEDDING];
  const rows = new Float32Array(vocabSize * shape[1]);
  rows.set(values);
  const bias = new Float32Array(vocabSize).fill(UNLIKELY, words.length);
  const model = {
    config: { ...config, vocabSize },
    tensors: { ...tensors, [EMBEDDING]: { values: rows, shape: [vocabSize, shape[1]] } },
  };
  const write = (name, content) => writeFileSync(join(folder, name), content);
  write('model.onnx', decoder(model, true, bias));
  write('tokenizer.json', tokenizerJson(words, characters));
  const template = '{{ bos_token }}{% for message in messages %} {{ message.content }}{% endfor %}';
  write(
    'tokenizer_config.json',
    JSON.stringify({ bos_token: words[0], eos_token: words[0], chat_template: template }),
  );
  write('config.json', JSON.stringify({ eos_token_id: 0, max_position_embeddings: config.positions }));
}
