/**
 * onnxruntime as the body and lmhead as the head: the small decoder is cut apart, its body gives hidden states, and its head says what
 * follows. Held against the same decoder whole, whose logits `sampleFrom` draws from: the same tokens come out, greedy and drawn.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sampleFrom } from '../../dist/index.mjs';
import { OnnxDecoder } from '../../dist/onnx/index.mjs';
import { loadModel } from '../tiny-lm/model.mjs';
import { END } from '../tiny-lm/tokenizer.mjs';
import { decoder } from './decoder.mjs';

const ASSET = new URL('../../assets/tiny-lm.safetensors', import.meta.url);
const WAYS = [
  { name: 'greedy', temperature: 0 },
  { name: 'at temperature 0.8', temperature: 0.8, seed: 7 },
  { name: 'top-p 0.9', topP: 0.9, seed: 8 },
];

/** What onnxruntime-node exports; undefined where it is not installed. */
export async function loadOnnxruntime() {
  try {
    return (await import('onnxruntime-node')).default;
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    return undefined;
  }
}

/**
 * Continues texts both ways, and prints them.
 * @param {typeof import('onnxruntime-node')} runtime
 * @param {string[]} prompts
 * @returns {Promise<{ passed: number, failed: number }>} how many continuations were the same, and how many not
 */
export async function againstWhole(runtime, prompts) {
  const model = loadModel(ASSET);
  const { tokenizer, config } = model;
  const folder = mkdtempSync(join(tmpdir(), 'lmhead-decoder-'));
  const counts = { passed: 0, failed: 0 };
  try {
    const file = join(folder, 'model.onnx');
    writeFileSync(file, decoder(model, true));
    const cut = await OnnxDecoder.open(file, { runtime });
    const whole = await WholeGraph.open(runtime, file, config);
    for (const prompt of prompts) {
      const ids = [END, ...tokenizer.encode(prompt)];
      const maxTokens = config.positions - ids.length;
      for (const { name, ...way } of WAYS) {
        const a = [];
        for await (const { id } of cut.generate(ids, { ...way, maxTokens, stopIds: [END] })) a.push(id);
        const b = await whole.continued(ids, maxTokens, way);
        const same = a.length === b.length && a.every((id, i) => id === b[i]);
        if (same) counts.passed++;
        else counts.failed++;
        console.log(
          `“${prompt}”, ${name}: ${a.length} tokens, ${same ? 'the same' : 'NOT the same'} as the whole model's`,
        );
        if (name === 'greedy' || !same) console.log(`  ${tokenizer.decode([...ids, ...a])}`);
        if (!same) console.log(`  ${tokenizer.decode([...ids, ...b])}`);
      }
    }
    await cut.close();
    await whole.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
  return counts;
}

/** The model as it is without this library's decoder: it reads the whole text for each token, and gives all of its logits. */
class WholeGraph {
  static async open({ InferenceSession, Tensor }, file, config) {
    const whole = new WholeGraph();
    whole.session = await InferenceSession.create(file);
    whole.config = config;
    whole.Tensor = Tensor;
    return whole;
  }

  async #lastLogits(ids) {
    const { Tensor, config, session } = this;
    const { heads, hiddenSize, layers, vocabSize } = config;
    const ints = values => new Tensor('int64', BigInt64Array.from(values, BigInt), [1, ids.length]);
    const feeds = {
      input_ids: ints(ids),
      attention_mask: ints(ids.map(() => 1)),
      position_ids: ints(ids.map((_, i) => i)),
    };
    for (let i = 0; i < layers; i++) {
      for (const kind of ['key', 'value']) {
        const nothing = new Tensor('float32', new Float32Array(0), [1, heads, 0, hiddenSize / heads]);
        feeds[`past_key_values.${i}.${kind}`] = nothing;
      }
    }
    const { logits } = await session.run(feeds);
    return logits.data.subarray(-vocabSize);
  }

  async continued(prompt, maxTokens, way) {
    const ids = [...prompt];
    for (let step = 0; step < maxTokens && (step === 0 || ids.at(-1) !== END); step++) {
      const logits = await this.#lastLogits(ids);
      ids.push(sampleFrom(logits, this.config.vocabSize, { ...way, step }).ids[0]);
    }
    return ids.slice(prompt.length);
  }

  async close() {
    await this.session.release();
  }
}
