import { LMHeadError } from '../errors';
import { LMHead } from '../lm-head';
import { LogitDifferences } from '../reference/logit-difference';
import { forEachBlock } from './blocks';
import type { Command } from './command';
import { closing, HEAD_OPTIONS, openOptions, withNamed } from './head';
import type { Parsed } from './options';
import { count, jsonLine, pairs, Table } from './output';
import type { Terminal } from './streams';
import { tokenCell, tokenTextsFor } from './tokenizer';

export const diff: Command = {
  name: 'diff',
  summary: 'How far two heads are from each other on the same hidden states',
  file: 'required',
  second: 'OTHER',
  options: ['hidden', 'each', 'norm', 'limit', 'tokenizer', ...HEAD_OPTIONS],
  required: ['hidden'],
  own: {
    norm: { help: "apply each head's own final norm to the hidden states first" },
    tensor: {
      value: 'NAME',
      help: 'the output matrix in both files (default: found by the names that models use)',
    },
  },
  examples: [
    [
      'lmhead diff model.safetensors model-q4.gguf --hidden h.npy',
      'differences of logits, KL divergence, agreement of the best tokens',
    ],
    [
      'lmhead diff a.safetensors b.safetensors --hidden h.npy --each --json',
      'a line for every position, and one for the summary',
    ],
  ],
  async run(parsed, terminal) {
    return withNamed(parsed, async a =>
      closing(await LMHead.open(parsed.second!, openOptions(parsed)), b => compare(a, b, parsed, terminal)),
    );
  },
};

async function compare(a: LMHead, b: LMHead, parsed: Parsed, terminal: Terminal): Promise<boolean> {
  if (a.hiddenSize !== b.hiddenSize)
    throw new LMHeadError(
      'SHAPE',
      `OTHER: got a head of hidden size ${b.hiddenSize}; want ${a.hiddenSize}, as that of FILE`,
    );
  const { out, signal } = terminal;
  const [json, each] = [parsed.flag('json'), parsed.flag('each')];
  const texts = each ? await tokenTextsFor(parsed) : undefined;
  const request = {
    logits: true,
    argmax: true,
    withLogProbs: false,
    norm: parsed.flag('norm'),
    signal,
  } as const;
  const all = new LogitDifferences();
  const table = new Table([
    ...['position', 'max', 'rms', 'KL', 'best', 'best of OTHER'],
    ...(texts ? ['token', 'token of OTHER'] : []),
  ]);
  const work = async (hidden: Float32Array, first: number) => {
    const [one, other] = await Promise.all([a.run(hidden, request), b.run(hidden, request)]);
    const block = new LogitDifferences();
    const rows: string[][] = [];
    for (let i = 0; i < hidden.length / a.hiddenSize; i++) {
      const position = new LogitDifferences();
      position.add(rowOf(one.logits, i, a.vocabSize), rowOf(other.logits, i, b.vocabSize));
      block.join(position);
      if (!each) continue;
      const best = [one.argmax[i], other.argmax[i]];
      const { max, rms, klDivergence } = position.result();
      if (json) {
        const its = texts ? { texts: best.map(id => texts.text(id) ?? null) } : {};
        await out.write(jsonLine({ position: first + i, max, rms, klDivergence, argmax: best, ...its }));
      } else
        rows.push([
          ...[String(first + i), max.toExponential(2), rms.toExponential(2)],
          ...[klDivergence.toExponential(2), ...best.map(String)],
          ...(texts ? best.map(id => tokenCell(texts, id)) : []),
        ]);
    }
    if (rows.length > 0) await out.write(table.lines(rows));
    all.join(block);
  };
  const summary = (positions: number, complete: boolean) => {
    const found = all.result();
    const { max, rms, klDivergence, argmaxAgreement } = found;
    if (json) return jsonLine({ ...found, ...(complete ? {} : { complete }) });
    const gap = !each ? '' : positions > 0 ? '\n' : `${table.lines([])}\n`;
    return (
      gap +
      pairs([
        ['positions', `${count(positions)} over ${count(Math.min(a.vocabSize, b.vocabSize))} tokens`],
        ['logits', `differ by ${max.toExponential(2)} at most, root mean square ${rms.toExponential(2)}`],
        ['KL', `${klDivergence.toExponential(2)} nats a position, of OTHER from FILE`],
        ['best tokens', `the same at ${(100 * argmaxAgreement).toFixed(2)} % of the positions`],
      ])
    );
  };
  const results = 2 * Math.max(a.vocabSize, b.vocabSize);
  await forEachBlock(a, parsed, terminal, { results, work, summary });
  return true;
}

function rowOf(logits: Float32Array, row: number, size: number): Float32Array {
  return logits.subarray(row * size, (row + 1) * size);
}
