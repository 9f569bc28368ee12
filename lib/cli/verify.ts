import { type CopyCheck, checkCopy } from '../head/check-copy';
import { passesOf } from '../head/head-properties';
import type { LMHead } from '../lm-head';
import type { LogitDifference } from '../types';
import { forEachBlock } from './blocks';
import type { Command } from './command';
import { roundedLine, together } from './differences';
import { HEAD_OPTIONS, withNamed } from './head';
import { exclusive, type Parsed } from './options';
import { count, jsonLine, pairs } from './output';
import { Progress } from './progress';
import { normalNumbers } from './random';
import { Interrupted, type Terminal } from './streams';

export const verify: Command = {
  name: 'verify',
  summary: 'Compare what this machine computes with a float64 reference',
  file: 'required',
  options: ['hidden', 'positions', 'limit', 'screen', ...HEAD_OPTIONS],
  examples: [
    [
      'lmhead verify model.safetensors',
      'four random hidden states; the exit code is 0 if every logit is within its bound',
    ],
    ['lmhead verify model.safetensors --hidden h.npy', 'hidden states of a real model'],
    ['lmhead verify model.safetensors --screen', 'the copy of a head that screens, too'],
  ],
  async run(parsed, terminal) {
    exclusive('verify', parsed, 'hidden', ['positions']);
    return withNamed(parsed, head => compare(head, parsed, terminal));
  },
};

/** Hidden states that the copy of a head is checked with. */
const MOST_STATES = 4;

async function compare(head: LMHead, parsed: Parsed, terminal: Terminal): Promise<boolean> {
  const { out, signal } = terminal;
  const found = { ok: true, maxError: 0, bound: 0, argmaxAgrees: true };
  let checked = 0;
  const states: Float32Array[] = [];
  const rounded: LogitDifference[] = [];
  let copy: CopyCheck | undefined;
  const check = async (hidden: Float32Array) => {
    if (signal.aborted) throw new Interrupted();
    const one = await head.verify(hidden);
    found.ok &&= one.ok;
    found.argmaxAgrees &&= one.argmaxAgrees;
    // The error that comes closest to its bound, as verify() itself reports of several positions.
    if (one.maxError > found.maxError) Object.assign(found, { maxError: one.maxError, bound: one.bound });
    if (one.rounded) rounded.push(one.rounded);
    checked++;
    if (states.length < MOST_STATES) states.push(hidden.slice());
  };
  const d = head.hiddenSize;
  const work = async (hidden: Float32Array) => {
    for (let at = 0; at < hidden.length; at += d) await check(hidden.subarray(at, at + d));
  };
  const summary = (complete: boolean) => {
    const { ok, maxError, bound, argmaxAgrees } = found;
    if (parsed.flag('json'))
      return jsonLine({
        positions: checked,
        ...found,
        ...(rounded.length > 0 && { rounded: together(rounded) }),
        ...(copy && { screening: copy }),
        ...(complete ? {} : { complete }),
      });
    return pairs([
      ['result', ok ? 'every logit is within its bound' : 'NOT what the reference computes'],
      ['positions', `${count(checked)} over ${count(head.vocabSize)} tokens`],
      ['largest error', `${maxError.toExponential(2)}, bound there ${bound.toExponential(2)}`],
      ['best tokens', argmaxAgrees ? 'agree' : 'DIFFER'],
      ...(rounded.length > 0 ? [roundedLine(together(rounded))] : []),
      ...(copy ? [['screening', copyText(copy)] as [string, string]] : []),
    ]);
  };
  try {
    if (parsed.text('hidden')) await forEachBlock(head, parsed, terminal, { work });
    else await checkRandom(parsed.number('positions') ?? 4);
    if (head.screening && states.length > 0) await checkRows();
  } catch (error) {
    if (signal.aborted && checked > 0) await out.last(summary(false));
    throw error;
  }
  await out.write(summary(true));
  return found.ok && (copy?.ok ?? true);

  /** Of the copy that screening reads, with the first hidden states. */
  async function checkRows(): Promise<void> {
    const V = head.vocabSize;
    const progress = new Progress(terminal, V, 'rows');
    const hidden = Float32Array.from(states.flatMap(state => [...state]));
    try {
      copy = await checkCopy(passesOf(head).backend, V, hidden, d, done => {
        if (signal.aborted) throw new Interrupted(`after ${count(done)} of ${count(V)} rows of the copy`);
        progress.update(done);
      });
    } finally {
      progress.end();
    }
  }

  async function checkRandom(n: number): Promise<void> {
    const progress = new Progress(terminal, n, 'positions');
    const next = normalNumbers(1);
    try {
      for (let i = 0; i < n; i++) {
        progress.update(i);
        await check(Float32Array.from({ length: d }, next));
      }
    } catch (error) {
      if (signal.aborted) throw new Interrupted(`after ${count(checked)} of ${count(n)} positions`);
      throw error;
    } finally {
      progress.end();
    }
  }
}

function copyText({ held, ok, worst, badRow }: CopyCheck): string {
  if (!ok) return `row ${badRow} is NOT as its copy says`;
  return `${count(held)} rows are within their bounds, at most ${(100 * worst).toFixed(0)} % of them`;
}
