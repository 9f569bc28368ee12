/** npm run train: trains the model on stories from the grammar, each seen once, and writes assets/tiny-lm.safetensors. */
import { Adam } from './adam.mjs';
import { lossAndGradients, lossOf } from './backprop.mjs';
import { newModel, saveModel } from './model.mjs';
import { seededRandom } from './random.mjs';
import { tellStories } from './stories.mjs';
import { Tokenizer } from './tokenizer.mjs';

const ASSET = new URL('../../assets/tiny-lm.safetensors', import.meta.url);

const STEPS = 2500;
const STORIES_PER_STEP = 16;
const WARM_UP_STEPS = 100;
const PEAK_RATE = 3e-3;
const SIZES = { hiddenSize: 64, layers: 2, heads: 4, positions: 112, eps: 1e-5 };
/** Everything random follows from these. */
const SEEDS = { vocabulary: 1, weights: 2, training: 3, validation: 4 };
const VALIDATION_STORIES = 100;

const STEPS_PER_LINE = 50;
const STEPS_PER_VALIDATION = 250;

function train() {
  // In so many stories every word of the grammar occurs.
  const stories = tellStories(5000, seededRandom(SEEDS.vocabulary));
  const tokenizer = Tokenizer.from(stories.map(({ text }) => text));
  const sizes = { vocabSize: tokenizer.vocabulary.length, ...SIZES };
  const model = newModel(sizes, seededRandom(SEEDS.weights));
  const adam = new Adam(model.tensors);
  const random = seededRandom(SEEDS.training);
  const validate = validation(model, tokenizer);
  const report = progress();

  console.log(`${parameterCount(model)} parameters, ${sizes.vocabSize} tokens; loss in nats per token`);
  for (let step = 1; step <= STEPS; step++) {
    const batch = tellStories(STORIES_PER_STEP, random).map(({ text }) => tokenizer.encodeStory(text));
    const { loss, count, gradients } = lossAndGradients(model, batch);
    adam.step(gradients, learningRate(step));
    report(step, loss, count);
    if (step % STEPS_PER_VALIDATION === 0) validate();
  }
  saveModel(ASSET, model, tokenizer);
  console.log('wrote assets/tiny-lm.safetensors');
}

/** Rises in a straight line to its peak, then falls to 0 along half a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983). */
function learningRate(step) {
  if (step <= WARM_UP_STEPS) return (PEAK_RATE * step) / WARM_UP_STEPS;
  const progress = (step - WARM_UP_STEPS) / (STEPS - WARM_UP_STEPS);
  return (PEAK_RATE * (1 + Math.cos(Math.PI * progress))) / 2;
}

/** Prints the loss on stories that are not trained on, and the loss that no model can beat: −log p under the grammar itself. */
function validation(model, tokenizer) {
  const stories = tellStories(VALIDATION_STORIES, seededRandom(SEEDS.validation));
  const ids = stories.map(({ text }) => tokenizer.encodeStory(text));
  const logProb = stories.reduce((sum, story) => sum + story.logProb, 0);
  return () => {
    const { loss, count } = lossOf(model, ids);
    const bound = -logProb / count;
    const excess = (100 * (loss / bound - 1)).toFixed(1);
    console.log(
      `  on other stories ${loss.toFixed(4)}; the grammar itself ${bound.toFixed(4)} (+${excess}%)`,
    );
  };
}

/** Prints a line now and then: the mean loss since the last one, the speed, and the time left. */
function progress() {
  const start = performance.now();
  let [losses, tokens] = [0, 0];
  return (step, loss, count) => {
    losses += loss;
    tokens += count;
    if (step % STEPS_PER_LINE !== 0) return;
    const seconds = (performance.now() - start) / 1000;
    const left = Math.round((seconds / step) * (STEPS - step));
    const clock = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`;
    const mean = (losses / STEPS_PER_LINE).toFixed(4);
    const speed = Math.round(tokens / seconds);
    console.log(`step ${String(step).padStart(4)}  loss ${mean}  ${speed} tokens/s  ${clock} left`);
    losses = 0;
  };
}

function parameterCount({ tensors }) {
  return Object.values(tensors).reduce((count, { values }) => count + values.length, 0);
}

train();
