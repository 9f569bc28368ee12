import { resolve } from 'node:path';
import { LMHead } from '../lm-head';
import type { Activations, QuantizationError } from '../types';
import type { Command } from './command';
import { differenceLines, roundedLine } from './differences';
import { closing, openOptions } from './head';
import { HiddenFile } from './npy-rows';
import { type Parsed, UsageError } from './options';
import { count, jsonLine, pairs } from './output';
import type { Terminal } from './streams';

const TARGETS = ['i8', 'q8_0'] as const;

export const quantize: Command = {
  name: 'quantize',
  summary: 'Make a head with weights of 8 bits, and say what that changes',
  file: 'required',
  options: ['dtype', 'out', 'hidden', 'limit', 'activations', 'tensor', 'threads', 'backend'],
  own: {
    dtype: { value: 'TYPE', help: 'i8 (default; any d) or q8_0 (d a multiple of 32)', choices: TARGETS },
    out: {
      value: 'FILE',
      help: 'where to write it, as .safetensors (default: nowhere; it is only measured)',
    },
    hidden: {
      value: 'H.npy',
      help: 'hidden states on which both are compared, an array [n, d]; - reads it from the standard input',
    },
    limit: {
      value: 'N',
      help: 'of these the first N, and no more',
      number: { least: 1, most: 2 ** 32 - 1, whole: true },
    },
  },
  examples: [
    [
      'lmhead quantize model.safetensors --dtype q8_0 --out head-q8.safetensors',
      'writes it, and prints the error of its weights',
    ],
    [
      'lmhead quantize model.safetensors --hidden h.npy',
      'writes nothing: what it would do to the logits after h.npy',
    ],
  ],
  async run(parsed, terminal) {
    if (parsed.text('hidden') === undefined && parsed.number('limit') !== undefined)
      throw new UsageError('quantize: got --limit without --hidden; want both');
    const { activations, ...options } = openOptions(parsed);
    return closing(await LMHead.open(parsed.file!, options), head =>
      measure(head, activations, parsed, terminal),
    );
  },
};

async function measure(
  head: LMHead,
  activations: Activations | undefined,
  parsed: Parsed,
  terminal: Terminal,
): Promise<boolean> {
  const dtype = (parsed.text('dtype') ?? 'i8') as (typeof TARGETS)[number];
  const hidden = await statesOf(head, parsed, terminal);
  const { head: made, error } = await head.quantize(dtype, { hidden, activations, signal: terminal.signal });
  return closing(made, async () => {
    const file = parsed.text('out');
    if (file !== undefined) await made.save(resolve(file));
    const text = parsed.flag('json')
      ? jsonLine({ from: head.dtype, to: dtype, ...error, file: file ?? null })
      : forPeople(head, dtype, error, file);
    await terminal.out.write(text);
    return true;
  });
}

async function statesOf(head: LMHead, parsed: Parsed, terminal: Terminal): Promise<Float32Array | undefined> {
  const path = parsed.text('hidden');
  if (path === undefined) return undefined;
  const file = await HiddenFile.open(path, head.hiddenSize, terminal);
  try {
    return await file.read(0, Math.min(file.count, parsed.number('limit') ?? Infinity));
  } finally {
    await file.close();
  }
}

function forPeople(
  head: LMHead,
  dtype: string,
  { weights, logits, rounded }: QuantizationError,
  file: string | undefined,
): string {
  const small = (x: number) => x.toExponential(2);
  return pairs([
    ['weights', `${count(head.vocabSize)} × ${count(head.hiddenSize)}, from ${head.dtype} to ${dtype}`],
    [
      'their error',
      `at most ${small(weights.max)}, root mean square ${small(weights.rms)}, ${(100 * weights.relative).toPrecision(3)} % of their size`,
    ],
    ...(logits
      ? [['positions', count(logits.positions)] as [string, string], ...differenceLines(logits)]
      : []),
    ...(rounded ? [roundedLine(rounded)] : []),
    ['file', file ?? 'none written (--out FILE)'],
  ]);
}
