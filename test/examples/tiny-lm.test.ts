import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { LMHead } from '../../lib';
import { expectClose, someNumbers } from '../support/numbers';

const ASSET = join(__dirname, '../../assets/tiny-lm.safetensors');
const PROMPT = 'One summer there was a little rabbit named Lily.';

/** The loss on fresh stories may exceed the grammar's own by this factor. */
const FACTOR = 1.1;

// The examples are plain JavaScript; these are the types of what the tests use.
interface Tensor {
  shape: number[];
  values: Float32Array;
}
interface Tokenizer {
  vocabulary: string[];
  encode(text: string): Uint32Array;
  encodeStory(text: string): Uint32Array;
  decode(ids: ArrayLike<number>): string;
}
interface Config {
  vocabSize: number;
  hiddenSize: number;
  layers: number;
  heads: number;
  positions: number;
  eps: number;
}
interface Model {
  config: Config;
  tensors: Record<string, Tensor>;
}
interface Norm {
  type: 'rmsnorm';
  weight: Float32Array;
  eps: number;
}
interface Told {
  text: string;
  logProb: number;
}
interface Continued {
  head: LMHead;
  norm: Norm;
  hidden: Float32Array;
  text: string;
  ids: number[];
}
interface Example {
  seededRandom(seed: number): () => number;
  tellStories(count: number, random: () => number): Told[];
  loadModel(path: string): Model & { tokenizer: Tokenizer };
  newModel(config: Config, random: () => number): Model;
  finalNorm(model: Model): Norm;
  rmsNorm(x: Float32Array, weight: Float32Array, eps: number): Float32Array;
  lossOf(model: Model, stories: Uint32Array[]): { loss: number; count: number };
  lossAndGradients(
    model: Model,
    stories: Uint32Array[],
  ): { loss: number; count: number; gradients: Record<string, Float32Array> };
  Reader: new (model: Model, head: LMHead) => { full: boolean; read(id: number): Float32Array };
  continueStory(options: {
    prompt: string;
    tokens?: number;
    temperature?: number;
    seed?: number;
    log?: (line: string) => void;
  }): Promise<Continued>;
  verifyHead(story: Continued, log: (line: string) => void): Promise<boolean>;
  writeSafetensors(path: string, tensors: Record<string, Tensor>, metadata: Record<string, string>): void;
  readSafetensors(path: string): { tensors: Record<string, Tensor>; metadata: Record<string, string> };
}

// The examples take the library from its build; here they get it from its sources.
vi.mock('../../dist/index.mjs', () => vi.importActual('../../lib'));

let example: Example;
beforeAll(async () => {
  const files = [
    'random',
    'stories',
    'model',
    'backprop',
    'reader',
    'continue-a-story',
    'verify',
    'safetensors',
  ];
  const modules = await Promise.all(files.map(name => import(`../../examples/tiny-lm/${name}.mjs`)));
  example = Object.assign({}, ...modules);
});

describe('the model in assets/', () => {
  it('is at most 1 MB', () => {
    expect(statSync(ASSET).size).toBeLessThanOrEqual(1e6);
  });

  it('opens as a tied head', async () => {
    const { config, tokenizer } = example.loadModel(ASSET);
    const head = await LMHead.open(ASSET);
    expect(head.tied).toBe(true);
    expect([head.vocabSize, head.hiddenSize]).toEqual([config.vocabSize, config.hiddenSize]);
    expect(tokenizer.vocabulary.length).toBe(config.vocabSize);
    head.close();
  });

  it(`predicts fresh stories with at most ${FACTOR} times the loss that no model can beat`, () => {
    const model = example.loadModel(ASSET);
    const stories = example.tellStories(50, example.seededRandom(1234));
    const { loss, count } = example.lossOf(
      model,
      stories.map(({ text }) => model.tokenizer.encodeStory(text)),
    );
    const bound = -stories.reduce((sum, { logProb }) => sum + logProb, 0) / count;
    expect(loss).toBeLessThan(FACTOR * bound);
    // Far below it there would be a mistake in the bound.
    expect(loss).toBeGreaterThan(0.97 * bound);
  });

  it('reads alike token by token and all at once', async () => {
    const model = example.loadModel(ASSET);
    const [{ text }] = example.tellStories(1, example.seededRandom(5));
    const ids = model.tokenizer.encodeStory(text);
    const head = await LMHead.open(ASSET, { norm: example.finalNorm(model) });
    const reader = new example.Reader(model, head);
    const logProbs = [...ids.subarray(0, -1)].map(
      (id, i) => head.scoreSync(reader.read(id), ids.subarray(i + 1, i + 2), { norm: true }).logProbs[0],
    );
    const mean = -logProbs.reduce((sum, logProb) => sum + logProb, 0) / logProbs.length;
    expectClose([mean], [example.lossOf(model, [ids]).loss], { absolute: 1e-5 });
    head.close();
  });
});

describe('a story', () => {
  it('continued with the likeliest words, ends and does not forget its hero', async () => {
    const lines: string[] = [];
    const story = await example.continueStory({ prompt: PROMPT, tokens: 40, log: line => lines.push(line) });
    expect(story.text.startsWith(PROMPT)).toBe(true);
    expect(story.text.endsWith('The end.')).toBe(true);
    expect(story.text.slice(PROMPT.length)).toContain('Lily');
    expect(lines.length).toBe(41);
    expect(Math.max(...lines.map(line => line.length))).toBeLessThanOrEqual(100);
    story.head.close();
  });

  it('is the same for the same seed', async () => {
    const draw = async (seed: number) => {
      const { text, head } = await example.continueStory({
        prompt: PROMPT,
        tokens: 0,
        temperature: 0.8,
        seed,
      });
      head.close();
      return text;
    };
    const text = await draw(7);
    expect(await draw(7)).toBe(text);
    expect(await draw(8)).not.toBe(text);
  });

  it('has hidden states on which native and reference agree', async () => {
    const story = await example.continueStory({ prompt: PROMPT, tokens: 0 });
    const lines: string[] = [];
    expect(await example.verifyHead(story, line => lines.push(line))).toBe(true);
    expect(lines).toEqual([expect.stringContaining('the best tokens agree')]);
    story.head.close();
  });

  it('refuses a word that the model does not know', async () => {
    await expect(example.continueStory({ prompt: 'Once upon a xylophone' })).rejects.toThrow('“xylophone”');
  });
});

describe('gradients', () => {
  const STEP = 2e-3;
  const config: Config = { vocabSize: 7, hiddenSize: 6, layers: 2, heads: 2, positions: 6, eps: 1e-5 };
  const stories = [Uint32Array.of(0, 3, 1, 4, 3, 0), Uint32Array.of(0, 5, 6, 2, 0)];

  /** A model in which no tensor is special: the norms are not ones, the embedding is not small. */
  const someModel = () => {
    const model = example.newModel(config, example.seededRandom(1));
    Object.values(model.tensors).forEach(({ values }, i) => {
      values.set(someNumbers(values.length, i + 1));
    });
    return model;
  };

  it('are those of the loss, tensor by tensor', () => {
    const model = someModel();
    const { loss, count, gradients } = example.lossAndGradients(model, stories);
    expect(count).toBe(9);
    expectClose([loss], [example.lossOf(model, stories).loss], { absolute: 1e-6 });
    expect(Object.keys(gradients).toSorted()).toEqual(Object.keys(model.tensors).toSorted());

    for (const [name, { values }] of Object.entries(model.tensors)) {
      const original = values.slice();
      /** The slope of the loss along a direction, measured. */
      const slope = (direction: Float32Array) => {
        const lossAt = (step: number) => {
          values.forEach((_, i) => {
            values[i] = original[i] + step * direction[i];
          });
          return example.lossOf(model, stories).loss;
        };
        const measured = (lossAt(STEP) - lossAt(-STEP)) / (2 * STEP);
        values.set(original);
        return measured;
      };
      for (let seed = 1; seed <= 4; seed++) {
        const direction = someNumbers(values.length, seed);
        const expected = direction.reduce((sum, x, i) => sum + x * gradients[name][i], 0);
        const size = Math.hypot(...gradients[name]);
        expect(Math.abs(slope(direction) - expected), name).toBeLessThan(0.01 * size + 1e-4);
      }
    }
  });
});

describe('tools', () => {
  it('the tokenizer gives texts back', () => {
    const { tokenizer } = example.loadModel(ASSET);
    for (const { text } of example.tellStories(100, example.seededRandom(6))) {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
      expect(tokenizer.decode(tokenizer.encodeStory(text))).toBe(text);
    }
  });

  describe('safetensors', () => {
    const folder = mkdtempSync(join(tmpdir(), 'lmhead-tiny-lm-'));
    afterAll(() => rmSync(folder, { recursive: true }));

    it('come back as they were written', () => {
      const path = join(folder, 'some.safetensors');
      const tensors = {
        'a.weight': { shape: [2, 3], values: someNumbers(6) },
        'b.weight': { shape: [1], values: Float32Array.of(Number.NEGATIVE_INFINITY) },
      };
      const metadata = { 'a key': '“a value”' };
      example.writeSafetensors(path, tensors, metadata);
      expect(example.readSafetensors(path)).toEqual({ tensors, metadata });
      const head = LMHead.openSync(path, { tensor: 'a.weight' });
      expect([...head.embed([1])]).toEqual([...tensors['a.weight'].values.subarray(3)]);
      head.close();
    });
  });
});
