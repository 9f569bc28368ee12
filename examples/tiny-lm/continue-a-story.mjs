/** Continues a story token by token, and shows for each token what else could have come. */
import { LMHead } from '../../dist/index.mjs';
import { finalNorm, loadModel } from './model.mjs';
import { Reader } from './reader.mjs';
import { END } from './tokenizer.mjs';

const ASSET = new URL('../../assets/tiny-lm.safetensors', import.meta.url);
const SHOWN = 5;

/**
 * @param {object} options
 * @param {string} options.prompt the story's beginning, in words that the model knows
 * @param {number} [options.tokens] how many of the new tokens to show with their rivals; the rest comes in the text only
 * @param {number} [options.temperature] 0 takes the likeliest token
 * @param {number} [options.seed] of the draws
 * @param {(line: string) => void} [options.log]
 */
export async function continueStory({ prompt, tokens = 40, temperature = 0, seed = 1, log = console.log }) {
  const model = loadModel(ASSET);
  const { tokenizer } = model;
  const norm = finalNorm(model);
  // The file's embedding matrix is the output matrix too: the head finds it by its name, and reads its rows for the input.
  const head = await LMHead.open(ASSET, { norm });
  const reader = new Reader(model, head);

  const ids = [...tokenizer.encode(prompt)];
  let hidden = reader.read(END);
  for (const id of ids) hidden = reader.read(id);

  if (tokens > 0) log(`${'chosen'.padEnd(12)}the ${SHOWN} likeliest, with their probabilities`);
  const states = [];
  while (true) {
    const drawn = await head.sample(hidden, { norm: true, temperature, seed, step: states.length });
    const chosen = drawn.ids[0];
    if (states.length < tokens) {
      const likeliest = await head.topK(hidden, SHOWN, { norm: true });
      log(tableRow(chosen, likeliest, tokenizer));
    }
    states.push(hidden);
    if (chosen === END || reader.full) break;
    ids.push(chosen);
    hidden = reader.read(chosen);
  }
  return { head, norm, hidden: joined(states), text: tokenizer.decode(ids), ids };
}

function tableRow(chosen, { ids, logProbs }, { vocabulary }) {
  const rivals = [...ids].map((id, i) => {
    const percent = Math.round(100 * Math.exp(logProbs[i]));
    return `${vocabulary[id].padEnd(10)}${String(percent).padStart(4)}%`;
  });
  return `${vocabulary[chosen].padEnd(12)}${rivals.join('  ')}`;
}

/** Hidden states one behind another, [n,d]. */
function joined(states) {
  const d = states[0].length;
  const hidden = new Float32Array(states.length * d);
  states.forEach((state, i) => {
    hidden.set(state, i * d);
  });
  return hidden;
}
