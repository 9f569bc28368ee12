/** Tokens of @huggingface/transformers' models, drawn by this library: a tiny local model, whole and without its head. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LMHead, type SampledToken } from '../../lib';
import { useHead } from '../../lib/transformers';
import { temporaryFolder } from '../support/folders';
import { ASSET, tinyDecoder, WholeGraph } from '../support/onnx-decoders';
import { examplePackage, type OnnxRuntime } from '../support/onnxruntime';

interface Tensor {
  data: BigInt64Array;
  dims: number[];
  tolist(): bigint[][];
}
interface Generator {
  generate(options: object): Promise<unknown>;
  dispose(): Promise<unknown>;
}
interface Transformers {
  env: { allowRemoteModels: boolean; localModelPath: string; cacheDir: string };
  AutoModelForCausalLM: { from_pretrained(name: string, options: object): Promise<Generator> };
  Tensor: new (type: string, data: unknown, dims: number[]) => Tensor;
  LogitsProcessorList: new () => { push(processor: unknown): void };
  pipeline(
    task: string,
    model: string,
    options: object,
  ): Promise<
    ((text: string, options: object) => Promise<{ generated_text: string }[]>) & {
      model: Generator;
      dispose(): Promise<unknown>;
    }
  >;
}

it('refuses what is no model, no head, no option', () => {
  const model = Object.fromEntries(
    [
      'generate',
      'forward',
      'prepare_inputs_for_generation',
      '_prepare_generation_config',
      '_get_logits_processor',
    ].map(name => [name, () => undefined]),
  );
  expect(() => useHead(7 as never, undefined)).toThrow('model: got 7; want a model');
  expect(() => useHead({}, undefined)).toThrow('model: got an object; want a model');
  expect(() => useHead(model, {} as never)).toThrow('head: got an object; want an LMHead');
  expect(() => useHead(model, undefined, { top_p: 0.5 } as never)).toThrow(
    /top_p: got an option .* want topP/,
  );
  expect(() => useHead(model, undefined, { seed: -1 })).toThrow('seed: got -1');
  expect(() => useHead(model, undefined, { norm: true })).toThrow('norm: got one for logits');
  expect(() => useHead(model, undefined, { onTokens: 1 } as never)).toThrow(
    'onTokens: got 1; want a function',
  );
});

const transformers = examplePackage<Transformers>('@huggingface/transformers');
const runtime = examplePackage<OnnxRuntime>('onnxruntime-node');
const title = 'useHead over a local model';
if (!transformers || !runtime) {
  describe.skip(title, () =>
    it('skipped: @huggingface/transformers is not installed under examples/onnxruntime', () => {}),
  );
} else {
  describe(title, () => {
    const folder = temporaryFolder();
    const { AutoModelForCausalLM, Tensor, LogitsProcessorList, env, pipeline } = transformers;
    let whole: Generator;
    let plain: Generator;
    let body: Generator;
    let graph: WholeGraph;
    let head: LMHead;
    let prompt: number[];
    beforeAll(async () => {
      const tiny = await tinyDecoder();
      const { config, tokenizer } = tiny.model;
      folder.file('tiny/onnx/model.onnx', tiny.graph(true));
      folder.file('tiny/onnx/body.onnx', tiny.graph(false));
      const { heads } = config as unknown as { heads: number };
      const described = {
        model_type: 'llama',
        architectures: ['LlamaForCausalLM'],
        hidden_size: config.hiddenSize,
        num_hidden_layers: config.layers,
        num_attention_heads: heads,
        num_key_value_heads: heads,
        vocab_size: config.vocabSize,
        max_position_embeddings: config.positions,
        eos_token_id: 0,
      };
      folder.file('tiny/config.json', JSON.stringify(described));
      folder.file('tiny/tokenizer.json', tiny.tokenizerJson(tokenizer.vocabulary));
      folder.file(
        'tiny/tokenizer_config.json',
        JSON.stringify({ tokenizer_class: 'PreTrainedTokenizerFast' }),
      );
      env.allowRemoteModels = false;
      env.localModelPath = folder.path();
      const open = (model_file_name: string) =>
        AutoModelForCausalLM.from_pretrained('tiny', { model_file_name, dtype: 'fp32' });
      [plain, whole, body] = [await open('model'), await open('model'), await open('body')];
      graph = await WholeGraph.open(runtime, tiny.graph(true));
      head = await LMHead.open(ASSET);
      prompt = [0, ...tokenizer.encode('One summer there was a little rabbit named Lily.')];
    });
    afterAll(async () => {
      for (const model of [plain, whole, body]) await model?.dispose();
      await graph?.close();
      head?.close();
    });

    const inputsOf = (...rows: number[][]) => ({
      inputs: new Tensor('int64', BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0].length]),
    });
    /** Without the prompt, row by row. */
    const idsOf = (sequences: unknown, length = prompt.length) =>
      (sequences as Tensor).tolist().map(row => row.slice(length).map(Number));
    const generated = async (model: Generator, options: object, rows = [prompt]) =>
      idsOf(await model.generate({ ...inputsOf(...rows), eos_token_id: null, ...options }), rows[0].length);
    const both = () => [
      { model: body, own: head },
      { model: whole, own: undefined },
    ];

    it('gives the greedy tokens that generate gave', async () => {
      const wanted = await generated(plain, { max_new_tokens: 40 });
      for (const { model, own } of both()) {
        useHead(model, own);
        expect(await generated(model, { max_new_tokens: 40 })).toEqual(wanted);
      }
      expect(wanted[0]).toEqual(await graph.continued(prompt, 40, { temperature: 0 }));
    });

    it('gives the tokens that sampleFrom draws from the whole graph’s logits', async () => {
      const options = { temperature: 0.9, topP: 0.9, minP: 0.02, seed: 5 };
      const wanted = await graph.continued(prompt, 60, options);
      for (const { model, own } of both()) {
        useHead(model, own, options);
        expect(await generated(model, { max_new_tokens: 60 })).toEqual([wanted]);
      }
    });

    it('takes the options of generate, top_p and min_p too', async () => {
      const documented = { do_sample: true, temperature: 0.9, top_k: 20, top_p: 0.8, min_p: 0.01 };
      const wanted = await graph.continued(prompt, 40, {
        temperature: 0.9,
        topK: 20,
        topP: 0.8,
        minP: 0.01,
        seed: 5,
      });
      for (const { model, own } of both()) {
        useHead(model, own, { seed: 5 });
        expect(await generated(model, { ...documented, max_new_tokens: 40 })).toEqual([wanted]);
        // The only one left.
        const likeliest = await generated(model, { ...documented, top_p: 1e-6, max_new_tokens: 20 });
        expect(likeliest).toEqual(await generated(plain, { max_new_tokens: 20 }));
      }
    });

    it.each([
      ['repetition_penalty', { repetition_penalty: 1.5 }],
      ['no_repeat_ngram_size', { no_repeat_ngram_size: 2 }],
      ['bad_words_ids', { bad_words_ids: [[7], [9, 11]] }],
      ['suppress_tokens', { suppress_tokens: [1, 2, 3, 40, 41] }],
      ['begin_suppress_tokens', { begin_suppress_tokens: [87, 130] }],
      ['min_new_tokens', { eos_token_id: [3, 4], min_new_tokens: 25 }],
      ['min_length', { eos_token_id: [3], min_length: 30 }],
      ['forced_eos_token_id', { forced_eos_token_id: 6 }],
    ])('does what %s says, as transformers.js does', async (_, options) => {
      const wanted = await generated(plain, { ...options, max_new_tokens: 30 });
      for (const { model, own } of both()) {
        useHead(model, own);
        expect(await generated(model, { ...options, max_new_tokens: 30 })).toEqual(wanted);
      }
    });

    it('runs processors of the caller’s over all logits', async () => {
      /** Leaves even ids. */
      const even = (_: unknown, logits: { data: Float32Array; dims: number[] }) => {
        for (let i = 1; i < logits.data.length; i += 2) logits.data[i] = Number.NEGATIVE_INFINITY;
        return logits;
      };
      const list = new LogitsProcessorList();
      list.push(even);
      const wanted = await generated(plain, { logits_processor: list, max_new_tokens: 20 });
      expect(wanted[0].every(id => id % 2 === 0)).toBe(true);
      for (const { model, own } of both()) {
        useHead(model, own);
        expect(await generated(model, { logits_processor: list, max_new_tokens: 20 })).toEqual(wanted);
      }
    });

    it('draws a batch by one pass, each row as alone, and tells log-probabilities', async () => {
      const rows = [prompt, [...prompt.slice(0, -3), 5, 6, 7]];
      for (const { model, own } of both()) {
        const told: SampledToken[][] = [];
        useHead(model, own, {
          seed: 3,
          temperature: 1,
          topLogProbs: 2,
          onTokens: tokens => told.push([...tokens]),
        });
        const asked = { max_new_tokens: 12, return_dict_in_generate: true, eos_token_id: null };
        const result = (await model.generate({ ...inputsOf(...rows), ...asked })) as {
          sequences: Tensor;
          sampled: SampledToken[][];
        };
        const ids = idsOf(result.sequences);
        expect(result.sampled.map(row => row.map(({ id }) => id))).toEqual(ids);
        expect(told).toHaveLength(12);
        expect(told[4].map(({ id }) => id)).toEqual(ids.map(row => row[4]));
        expect(told[0][1].modelTopLogProbs).toHaveLength(2);
        for (const [row, text] of rows.entries()) {
          const alone = await graph.continued(text, 12, { temperature: 1, seed: 3, stream: row });
          expect(ids[row]).toEqual(alone);
        }
      }
    });

    it('keeps calls at the same time apart', async () => {
      useHead(body, head, { temperature: 1, seed: 4 });
      const wanted = await generated(body, { max_new_tokens: 15 });
      const other = [prompt.slice(0, 4)];
      const alone = await generated(body, { max_new_tokens: 15 }, other);
      const together = await Promise.all([
        generated(body, { max_new_tokens: 15 }),
        generated(body, { max_new_tokens: 15 }, other),
        generated(body, { max_new_tokens: 15, do_sample: true }),
      ]);
      expect(together).toEqual([wanted, alone, wanted]);
    });

    it('ends where eos_token_id says', async () => {
      const [ids] = await generated(plain, { max_new_tokens: 30 });
      for (const { model, own } of both()) {
        useHead(model, own);
        const [ended] = await generated(model, { max_new_tokens: 30, eos_token_id: ids[9] });
        expect(ended).toEqual(ids.slice(0, ids.indexOf(ids[9]) + 1));
      }
    });

    it('works in a pipeline', async () => {
      const texts: string[] = [];
      for (const model_file_name of ['model', 'body']) {
        const generator = await pipeline('text-generation', 'tiny', { model_file_name, dtype: 'fp32' });
        if (model_file_name === 'body') useHead(generator.model, head);
        const [{ generated_text }] = await generator('One day', { max_new_tokens: 10 });
        texts.push(generated_text);
        await generator.dispose();
      }
      expect(texts[1]).toMatch(/( \w+){8}/);
      expect(texts[1]).toBe(texts[0]);
    });

    it('says what a model lacks', async () => {
      useHead(whole, head);
      await expect(generated(whole, { max_new_tokens: 2 })).rejects.toMatchObject({
        code: 'ERR_LMHEAD_TENSOR',
        message: expect.stringMatching(/^model: got the outputs .*logits.*; want last_hidden_state/),
      });
      useHead(body, undefined);
      await expect(generated(body, { max_new_tokens: 2 })).rejects.toMatchObject({
        code: 'ERR_LMHEAD_TENSOR',
      });
      useHead(body, head);
      await expect(generated(body, { max_new_tokens: 2, num_beams: 3 })).rejects.toThrow(
        'num_beams: got 3; want 1',
      );
    });
  });
}
