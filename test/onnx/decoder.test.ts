/** Decoders in onnxruntime, whose tokens a head chooses. */
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LMHead, type LMHeadError, logSoftmax } from '../../lib';
import { OnnxDecoder } from '../../lib/onnx';
import { conformancePath } from '../support/conformance';
import { temporaryFolder } from '../support/folders';
import { ASSET, idsOf, tinyDecoder, WholeGraph } from '../support/onnx-decoders';
import { describeOnnxruntime } from '../support/onnxruntime';
import { everyDecoder, writeDecoder } from './decoders';
import { oddDecoders } from './odd-decoders';

const folder = temporaryFolder();
const GREEDY = { temperature: 0 };
const SEEDED = { temperature: 0.9, topP: 0.95, seed: 11 };

it('names onnxruntime-node where it is not installed', async () => {
  await expect(OnnxDecoder.open('model.onnx')).rejects.toMatchObject({
    code: 'ERR_LMHEAD_LOAD',
    message: expect.stringContaining('npm install onnxruntime-node'),
  });
});

it('refuses what is no path, no head, no option', async () => {
  await expect(OnnxDecoder.open(7 as never)).rejects.toMatchObject({ code: 'ERR_LMHEAD_ARGUMENT' });
  await expect(OnnxDecoder.open('x', { head: {} as never })).rejects.toMatchObject({
    message: 'head: got an object; want an LMHead',
  });
  await expect(OnnxDecoder.open('x', { heed: 1 } as never)).rejects.toMatchObject({
    message: 'heed: got an option that OnnxDecoder.open does not take; want head',
  });
  await expect(OnnxDecoder.open('x', { runtime: {} })).rejects.toMatchObject({ code: 'ERR_LMHEAD_ARGUMENT' });
});

describeOnnxruntime('over a body with a cache', runtime => {
  let whole: WholeGraph;
  let decoder: OnnxDecoder;
  let overLogits: OnnxDecoder;
  let complete: string;
  let head: LMHead;
  let prompt: number[];
  let body: string;
  beforeAll(async () => {
    const { model, graph } = await tinyDecoder();
    body = folder.file('body.onnx', graph(false));
    complete = folder.file('model.onnx', graph(true));
    whole = await WholeGraph.open(runtime, complete);
    head = await LMHead.open(ASSET);
    decoder = await OnnxDecoder.open(body, { head, runtime });
    overLogits = await OnnxDecoder.open(complete, { runtime, cut: false });
    prompt = [0, ...model.tokenizer.encode('One summer there was a little rabbit named Lily.')];
  });
  afterAll(async () => {
    await decoder.close();
    await overLogits.close();
    await whole.close();
    head.close();
  });

  it.each([
    ['greedy', GREEDY],
    ['seeded', SEEDED],
  ])('gives the tokens that the whole graph’s logits give: 60 of 60, %s', async (_, options) => {
    const wanted = await whole.continued(prompt, 60, options);
    expect(await idsOf(decoder.generate(prompt, { ...options, maxTokens: 60 }))).toEqual(wanted);
    expect(await idsOf(overLogits.generate(prompt, { ...options, maxTokens: 60 }))).toEqual(wanted);
  });

  it('cuts a whole model apart, and leaves no file', async () => {
    const before = readdirSync(tmpdir()).filter(name => name.startsWith('lmhead-body-'));
    const own = await OnnxDecoder.open(complete, { runtime });
    const given = await OnnxDecoder.open(complete, { runtime, head });
    expect(readdirSync(tmpdir()).filter(name => name.startsWith('lmhead-body-'))).toEqual(before);
    expect(own.head).toMatchObject({ vocabSize: head.vocabSize, tied: true });
    expect(given.head).toBe(head);
    for (const options of [GREEDY, SEEDED]) {
      const wanted = await idsOf(overLogits.generate(prompt, { ...options, maxTokens: 30 }));
      expect(await idsOf(own.generate(prompt, { ...options, maxTokens: 30 }))).toEqual(wanted);
      expect(await idsOf(given.generate(prompt, { ...options, maxTokens: 30 }))).toEqual(wanted);
    }
    await own.close();
    await given.close();
    expect(() => own.head!.argmaxSync(new Float32Array(own.head!.hiddenSize))).toThrow(/closed|close/);
    await expect(OnnxDecoder.open(complete, { runtime, head, cut: false })).rejects.toMatchObject({
      message: expect.stringContaining('cut: false'),
    });
    await expect(OnnxDecoder.open(body, { runtime })).rejects.toMatchObject({
      message: expect.stringMatching(/^head: got none for a body/),
    });
  });

  it('reads a prompt in chunks, and token by token, to the same state', async () => {
    const small = await OnnxDecoder.open(body, { head, runtime, chunk: 4 });
    const wanted = await idsOf(decoder.generate(prompt, { ...GREEDY, maxTokens: 20 }));
    expect(await idsOf(small.generate(prompt, { ...GREEDY, maxTokens: 20 }))).toEqual(wanted);
    let state = await decoder.prefill(prompt.slice(0, 1));
    for (const id of prompt.slice(1)) state = await decoder.step(state, id);
    expect(state.length).toBe(prompt.length);
    expect(await idsOf(decoder.generate(state, { ...GREEDY, maxTokens: 20 }))).toEqual(wanted);
    // A state stays as it is.
    expect(await idsOf(decoder.generate(state, { ...GREEDY, maxTokens: 20 }))).toEqual(wanted);
    await small.close();
  });

  it('ends at a stop id, which is the last token, and after maxTokens', async () => {
    const ids = await idsOf(decoder.generate(prompt, { ...GREEDY, maxTokens: 30 }));
    const stop = ids[12];
    const until = ids.indexOf(stop) + 1;
    expect(await idsOf(decoder.generate(prompt, { ...GREEDY, stopIds: [stop] }))).toEqual(
      ids.slice(0, until),
    );
    expect(await idsOf(decoder.generate(prompt, { ...GREEDY, maxTokens: 0 }))).toEqual([]);
    for await (const token of decoder.generate(prompt, GREEDY)) {
      expect(token.id).toBe(ids[0]);
      break;
    }
  });

  it('draws texts that go on at the same time by passes that they share, each as alone', async () => {
    const alone: number[][] = [];
    for (let seed = 0; seed < 6; seed++) {
      alone.push(
        await idsOf(decoder.generate(prompt.slice(0, 3 + seed), { ...SEEDED, seed, maxTokens: 25 })),
      );
    }
    const before = decoder.sharing;
    const together = await Promise.all(
      alone.map((_, seed) =>
        idsOf(decoder.generate(prompt.slice(0, 3 + seed), { ...SEEDED, seed, maxTokens: 25 })),
      ),
    );
    expect(together).toEqual(alone);
    const { passes, tokens } = decoder.sharing;
    expect(tokens - before.tokens).toBe(150);
    expect(passes - before.passes).toBeLessThan(50);
  });

  it('leaves an error to the text that it is of', async () => {
    const bad = decoder.generate(prompt, {
      ...GREEDY,
      nextOptions: () => ({ allowedMask: new Uint32Array(Math.ceil(head.vocabSize / 32)) }),
    });
    const good = decoder.generate(prompt, { ...GREEDY, maxTokens: 5 });
    const [failed, ids] = await Promise.allSettled([idsOf(bad), idsOf(good)]);
    expect(failed).toMatchObject({ status: 'rejected', reason: { code: 'ERR_LMHEAD_RANGE' } });
    expect((failed as PromiseRejectedResult).reason.message).not.toMatch(/samplers|each/);
    expect(ids).toMatchObject({ status: 'fulfilled', value: { length: 5 } });
  });

  it('tells what is likeliest beside each token, in both ways', async () => {
    const options = { ...SEEDED, maxTokens: 5, topLogProbs: 3 };
    const told: unknown[] = [];
    for await (const { id, modelLogProb, modelTopLogProbs } of decoder.generate(prompt, options)) {
      expect(modelTopLogProbs).toHaveLength(3);
      told.push([id, modelLogProb.toFixed(4), modelTopLogProbs.map(each => each.id)]);
    }
    const held: unknown[] = [];
    for await (const { id, modelLogProb, modelTopLogProbs } of overLogits.generate(prompt, options)) {
      held.push([id, modelLogProb.toFixed(4), modelTopLogProbs.map(each => each.id)]);
    }
    expect(held).toEqual(told);
  });

  it('scores a text in chunks as the whole graph’s logits do', async () => {
    const text = [...prompt, ...(await idsOf(decoder.generate(prompt, { ...GREEDY, maxTokens: 30 })))];
    const small = await OnnxDecoder.open(body, { head, runtime, chunk: 7 });
    const wanted: number[] = [];
    whole.begin();
    for (let i = 0; i + 1 < text.length; i++) {
      const logits = await whole.read([text[i]]);
      wanted.push(logSoftmax(logits, logits.length)[text[i + 1]]);
    }
    for (const each of [decoder, small, overLogits]) {
      const { logProbs, ranks, count, nll, entropy } = await each.score(text, { entropy: true });
      expect(count).toBe(text.length - 1);
      expect(entropy).toHaveLength(count);
      expect(nll).toBeCloseTo(-wanted.reduce((sum, p) => sum + p, 0) / count, 4);
      logProbs.forEach((p, i) => {
        expect(Math.abs(p - wanted[i])).toBeLessThan(1e-4);
      });
      expect([...ranks.slice(prompt.length - 1)].every(rank => rank === 1)).toBe(true);
    }
    await small.close();
  });

  it('drafts by prompt lookup and by another decoder: greedy, the same tokens', async () => {
    const repeated = [...prompt, ...prompt, ...prompt.slice(0, 4)];
    const wanted = await idsOf(decoder.generate(repeated, { ...GREEDY, maxTokens: 40 }));
    const options = { ...GREEDY, maxTokens: 40, draftTokens: 4 };
    expect(await idsOf(decoder.generate(repeated, { ...options, draft: 'prompt-lookup' }))).toEqual(wanted);
    const other = await OnnxDecoder.open(body, { head, runtime });
    expect(await idsOf(decoder.generate(repeated, { ...options, draft: other }))).toEqual(wanted);
    const [stop] = wanted.slice(17);
    const until = wanted.indexOf(stop) + 1;
    expect(
      await idsOf(decoder.generate(repeated, { ...options, draft: 'prompt-lookup', stopIds: [stop] })),
    ).toEqual(wanted.slice(0, until));
    await other.close();
  });

  it('gives tokens of a seed again, with a draft too', async () => {
    const options = { ...SEEDED, draft: 'prompt-lookup', maxTokens: 30 } as const;
    const ids = await idsOf(decoder.generate([...prompt, ...prompt], options));
    expect(ids).toHaveLength(30);
    expect(await idsOf(decoder.generate([...prompt, ...prompt], options))).toEqual(ids);
  });

  it('ends when its signal fires', async () => {
    const stop = new AbortController();
    const seen: number[] = [];
    await expect(async () => {
      for await (const { id } of decoder.generate(prompt, { ...GREEDY, signal: stop.signal })) {
        seen.push(id);
        if (seen.length === 3) stop.abort(new Error('gone'));
      }
    }).rejects.toMatchObject({ code: 'ERR_LMHEAD_ABORTED', cause: { message: 'gone' } });
    expect(seen).toHaveLength(3);
    await expect(decoder.score(prompt, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ERR_LMHEAD_ABORTED',
    });
  });

  it('counts the prompt for what repeats, and not for what frequencies count', async () => {
    const free = await idsOf(decoder.generate(prompt, { ...GREEDY, maxTokens: 1 }));
    const banned = await idsOf(
      decoder.generate([...free, ...prompt], { ...GREEDY, repetitionPenalty: 1e6, maxTokens: 1 }),
    );
    expect(banned).not.toEqual(free);
    const counted = await idsOf(
      decoder.generate(prompt, { ...GREEDY, frequencyPenalty: 0, presencePenalty: 100, maxTokens: 8 }),
    );
    expect(new Set(counted).size).toBe(8);
  });

  it('refuses arguments at once, by name', async () => {
    const codeOf = (call: () => unknown) => {
      try {
        call();
      } catch (error) {
        return (error as LMHeadError).message;
      }
      return undefined;
    };
    expect(codeOf(() => decoder.generate([]))).toBe('ids: got none; want one token at least');
    expect(codeOf(() => decoder.generate([1e6]))).toMatch(/^ids\[0\]: got 1000000; want an id below/);
    expect(codeOf(() => decoder.generate(prompt, { maxTokens: -1 }))).toMatch(/^maxTokens: got -1/);
    expect(codeOf(() => decoder.generate(prompt, { maxToken: 1 } as never))).toMatch(/want maxTokens$/);
    expect(codeOf(() => decoder.generate(prompt, { draft: decoder }))).toMatch(/^draft: got an object/);
    expect(codeOf(() => decoder.generate(prompt, { draftTokens: 2 }))).toMatch(
      /^draftTokens: got 2 without draft/,
    );
    expect(codeOf(() => overLogits.generate(prompt, { draft: 'prompt-lookup' }))).toMatch(
      /^draft: got one for/,
    );
    expect(codeOf(() => overLogits.generate(prompt, { norm: true }))).toMatch(/^norm: got one for logits/);
    const foreign = await overLogits.prefill(prompt);
    expect(codeOf(() => decoder.generate(foreign))).toMatch(/^state: got an object/);
    await expect(decoder.score([1])).rejects.toMatchObject({ code: 'ERR_LMHEAD_RANGE' });
    await expect(decoder.prefill(new Array(2000).fill(1))).rejects.toMatchObject({
      code: 'ERR_LMHEAD_RANGE',
      message: expect.stringMatching(/^model: onnxruntime failed at the tokens from 0 to 511/),
    });
  });

  it('refuses heads and models that do not belong together', async () => {
    const narrow = LMHead.from(new Float32Array(8), { vocabSize: 2, hiddenSize: 4 });
    await expect(OnnxDecoder.open(body, { head: narrow, runtime })).rejects.toMatchObject({
      code: 'ERR_LMHEAD_SHAPE',
      message: expect.stringMatching(/^head: got one for hidden states of 4 elements; want \d+/),
    });
    await expect(OnnxDecoder.open(folder.path('none.onnx'), { runtime })).rejects.toMatchObject({
      code: 'ERR_LMHEAD_IO',
    });
    const damaged = folder.file('damaged.onnx', Buffer.from('no model'));
    await expect(OnnxDecoder.open(damaged, { runtime })).rejects.toMatchObject({ code: 'ERR_LMHEAD_FORMAT' });
    await expect(OnnxDecoder.open(body, { head, runtime, output: 'nothing' })).rejects.toMatchObject({
      code: 'ERR_LMHEAD_TENSOR',
      message: expect.stringContaining('last_hidden_state'),
    });
    narrow.close();
  });

  it('is over after close, which waits for what runs', async () => {
    const own = await OnnxDecoder.open(body, { head, runtime });
    const tokens = own.generate(prompt, GREEDY);
    const first = tokens.next();
    await own.close();
    await own.close();
    await expect(first).resolves.toMatchObject({ done: false });
    await expect(tokens.next()).rejects.toMatchObject({ code: 'ERR_LMHEAD_CLOSED' });
    await expect(own.prefill(prompt)).rejects.toMatchObject({ code: 'ERR_LMHEAD_CLOSED' });
  });
});

describeOnnxruntime('over heads of every kind', runtime => {
  it.each(Object.entries({ ...everyDecoder(), ...oddDecoders() }))('%s', async (name, made) => {
    const path = writeDecoder(folder, name, made);
    const files = ['model.onnx', ...Object.keys(made.beside)];
    const options = { runtime, session: { intraOpNumThreads: 1 } };
    const decoder = await OnnxDecoder.open(path, options);
    expect(decoder.head).toBeDefined();
    expect(readdirSync(dirname(path)).sort()).toEqual(files.sort());
    const whole = await OnnxDecoder.open(path, { ...options, cut: false });
    for (const way of [GREEDY, SEEDED]) {
      const ids = await idsOf(decoder.generate([1, 2, 3], { ...way, maxTokens: 10 }));
      expect(ids).toHaveLength(10);
      // Where the graph rounds hidden states, or their products, it may choose others.
      if (made.tolerance > 1e-4) continue;
      expect(await idsOf(whole.generate([1, 2, 3], { ...way, maxTokens: 10 }))).toEqual(ids);
    }
    await decoder.close();
    await whole.close();
  });
});

describeOnnxruntime('over real graphs', runtime => {
  describe.each(['gpt2-f32', 'lfm2-f32'])('%s', name => {
    const path = conformancePath(`onnx-decoders/${name}.onnx`);
    it.skipIf(!path).each([
      ['its hidden states', true],
      ['its logits', false],
    ])('gives the tokens of the whole graph, from %s', async (_, cut) => {
      const whole = await WholeGraph.open(runtime, path!);
      const decoder = await OnnxDecoder.open(path!, { runtime, cut });
      expect(decoder.head === undefined).toBe(!cut);
      expect(decoder.vocabSize).toBe(1000);
      for (const options of [GREEDY, SEEDED]) {
        const wanted = await whole.continued([5, 17, 200, 3], 60, options);
        expect(await idsOf(decoder.generate([5, 17, 200, 3], { ...options, maxTokens: 60 }))).toEqual(wanted);
      }
      await decoder.close();
      await whole.close();
    });

    it.skipIf(!path)('drafts, and scores in chunks', async () => {
      const decoder = await OnnxDecoder.open(path!, { runtime, chunk: 5 });
      const prompt = [5, 17, 200, 3, 5, 17, 200, 3, 5, 17];
      const ids = await idsOf(decoder.generate(prompt, { ...GREEDY, maxTokens: 40 }));
      const draft = 'prompt-lookup';
      expect(await idsOf(decoder.generate(prompt, { ...GREEDY, maxTokens: 40, draft }))).toEqual(ids);
      const text = [...prompt, ...ids];
      const whole = await OnnxDecoder.open(path!, { runtime, cut: false });
      const [a, b] = [await decoder.score(text), await whole.score(text)];
      expect(a.nll).toBeCloseTo(b.nll, 5);
      expect(a.ranks).toEqual(b.ranks);
      await decoder.close();
      await whole.close();
    });
  });

  it.skipIf(!conformancePath('onnx-decoders/text-decoder.onnx'))(
    'takes embeddings, of an option',
    async () => {
      const path = conformancePath('onnx-decoders/text-decoder.onnx')!;
      const embed = (ids: Uint32Array) =>
        Float32Array.from({ length: 64 * ids.length }, (_, i) => Math.sin(i + ids[0]));
      const decoder = await OnnxDecoder.open(path, { runtime, embed });
      expect(await idsOf(decoder.generate([1, 2, 3], { ...GREEDY, maxTokens: 12 }))).toHaveLength(12);
      await decoder.close();
    },
  );
});
