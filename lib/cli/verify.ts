import type { LMHead } from '../lm-head';
import { forEachBlock } from './blocks';
import type { Command } from './command';
import { HEAD_OPTIONS, openNamed } from './head';
import { exclusive } from './options';
import { count, jsonLine, pairs } from './output';
import { Progress } from './progress';
import { normalNumbers } from './random';

export const verify: Command = {
  name: 'verify',
  summary: 'Compare what this machine computes with a float64 reference',
  file: 'required',
  options: ['hidden', 'positions', ...HEAD_OPTIONS],
  examples: [
    [
      'lmhead verify model.safetensors',
      'four random hidden states; the exit code is 0 if every logit is within its bound',
    ],
    ['lmhead verify model.safetensors --hidden h.npy', 'hidden states of a real model'],
  ],
  async run(parsed, streams) {
    exclusive('verify', parsed, 'hidden', ['positions']);
    const head = await openNamed(parsed);
    const found = { ok: true, maxError: 0, bound: 0, argmaxAgrees: true };
    const check = async (hidden: Float32Array) => {
      const one = await head.verify(hidden);
      found.ok &&= one.ok;
      found.argmaxAgrees &&= one.argmaxAgrees;
      // The error that comes closest to its bound, as verify() itself reports of several positions.
      if (one.maxError > found.maxError) Object.assign(found, { maxError: one.maxError, bound: one.bound });
    };
    const positions = parsed.text('hidden')
      ? await checkFile(head, check)
      : await checkRandom(head, parsed.number('positions') ?? 4, check);
    head.close();
    const { ok, maxError, bound, argmaxAgrees } = found;
    if (parsed.flag('json')) streams.stdout.write(jsonLine({ positions, ...found }));
    else
      streams.stdout.write(
        pairs([
          ['result', ok ? 'every logit is within its bound' : 'NOT what the reference computes'],
          ['positions', `${count(positions)} over ${count(head.vocabSize)} tokens`],
          ['largest error', `${maxError.toExponential(2)}, bound there ${bound.toExponential(2)}`],
          ['best tokens', argmaxAgrees ? 'agree' : 'DIFFER'],
        ]),
      );
    return ok;

    async function checkFile(opened: LMHead, each: typeof check): Promise<number> {
      const d = opened.hiddenSize;
      return forEachBlock(opened, parsed, streams, async hidden => {
        for (let at = 0; at < hidden.length; at += d) await each(hidden.subarray(at, at + d));
      });
    }
    async function checkRandom(opened: LMHead, n: number, each: typeof check): Promise<number> {
      const progress = new Progress(streams, n, 'positions');
      const next = normalNumbers(1);
      for (let i = 0; i < n; i++) {
        progress.update(i);
        await each(Float32Array.from({ length: opened.hiddenSize }, next));
      }
      progress.end();
      return n;
    }
  },
};
