/**
 * onnxruntime as the body and lmhead as the head: a decoder exported without its last layer gives hidden states, and the head
 * says what follows. Held against the same decoder exported whole: the same tokens come out, greedy and drawn.
 *
 * The last line is `N passed, M failed`, one for each continuation.
 */
import { LMHead, sampleFrom } from '../../dist/index.mjs';
import { loadModel } from '../tiny-lm/model.mjs';
import { END } from '../tiny-lm/tokenizer.mjs';
import { decoder } from './decoder.mjs';

const ASSET = new URL('../../assets/tiny-lm.safetensors', import.meta.url);
const PROMPTS = ['One summer there was a little rabbit named Lily.', 'One day', 'The'];
const WAYS = [
  { name: 'greedy', temperature: 0 },
  { name: 'at temperature 0.8', temperature: 0.8, seed: 7 },
  { name: 'top-p 0.9', topP: 0.9, seed: 8 },
];

const { InferenceSession, Tensor } = await import('onnxruntime-node').then(
  module => module.default,
  error => {
    console.error(`onnxruntime-node cannot be loaded: ${error.message.split('\n')[0]}`);
    console.error(
      'To install it: npm install --ignore-scripts --no-package-lock --prefix examples/onnxruntime',
    );
    process.exit(1);
  },
);

const model = loadModel(ASSET);
const { tokenizer } = model;
const { vocabSize, positions } = model.config;
const body = await InferenceSession.create(decoder(model, false));
const whole = await InferenceSession.create(decoder(model, true));
const head = await LMHead.open(ASSET);

/** Runs a session over all tokens so far: the output's last row. */
async function lastRow(session, ids, name) {
  const input = new Tensor('int64', BigInt64Array.from(ids, BigInt), [ids.length]);
  const output = (await session.run({ input_ids: input }))[name];
  return output.data.subarray(-output.dims[1]);
}

/** Continues a text until it ends or the model has no position left. @param next from ids and options to the next id */
async function continued(prompt, way, next) {
  const ids = [END, ...tokenizer.encode(prompt)];
  for (let step = 0; ids.length < positions; step++) {
    const id = await next(ids, { ...way, step });
    if (id === END) break;
    ids.push(id);
  }
  return ids.slice(1);
}

const byHead = async (ids, options) => {
  const hidden = await lastRow(body, ids, 'last_hidden_state');
  return (await head.sample(hidden, options)).ids[0];
};
const byWhole = async (ids, options) => {
  const logits = await lastRow(whole, ids, 'logits');
  return sampleFrom(logits, vocabSize, options).ids[0];
};

let passed = 0;
let failed = 0;
for (const prompt of PROMPTS) {
  for (const { name, ...way } of WAYS) {
    const [a, b] = [await continued(prompt, way, byHead), await continued(prompt, way, byWhole)];
    const same = a.length === b.length && a.every((id, i) => id === b[i]);
    if (same) passed++;
    else failed++;
    console.log(
      `“${prompt}”, ${name}: ${a.length} tokens, ${same ? 'the same' : 'NOT the same'} as the whole model's`,
    );
    if (name === 'greedy' || !same) console.log(`  ${tokenizer.decode(a)}`);
    if (!same) console.log(`  ${tokenizer.decode(b)}`);
  }
}
head.close();
await body.release();
await whole.release();
console.log(`${passed} passed, ${failed} failed`);
if (failed > 0) process.exitCode = 1;
