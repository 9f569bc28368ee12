import type { LMHead } from '../lm-head';
import { forEachBlock } from './blocks';
import type { Command } from './command';
import { HEAD_OPTIONS, withNamed } from './head';
import type { Parsed } from './options';
import { jsonLine, Table } from './output';
import type { Terminal } from './streams';
import { tokenCell, tokenTextsFor } from './tokenizer';

export const sample: Command = {
  name: 'sample',
  summary: 'A token drawn after each hidden state',
  file: 'required',
  options: [
    ...(['hidden', 'temperature', 'top-k', 'top-p', 'min-p', 'typical-p', 'seed', 'norm'] as const),
    ...(['limit', 'tokenizer'] as const),
    ...HEAD_OPTIONS,
  ],
  required: ['hidden'],
  own: {
    temperature: {
      value: 'T',
      help: 'divides the logits (default 1); 0 takes the likeliest token',
      number: { least: 0, most: Number.MAX_VALUE, whole: false },
    },
  },
  examples: [
    [
      'lmhead sample model.safetensors --hidden h.npy --temperature 0.8 --top-p 0.95 --seed 1',
      'a token for every row of h.npy, the same ones each time',
    ],
    ['lmhead sample model.gguf --hidden h.npy --top-k 40 --json | jq .id', 'ids for a program'],
  ],
  async run(parsed, terminal) {
    return withNamed(parsed, head => printSamples(head, parsed, terminal));
  },
};

async function printSamples(head: LMHead, parsed: Parsed, terminal: Terminal): Promise<boolean> {
  const { out, signal } = terminal;
  const options = {
    temperature: parsed.number('temperature'),
    topK: parsed.number('top-k'),
    topP: parsed.number('top-p'),
    minP: parsed.number('min-p'),
    typicalP: parsed.number('typical-p'),
    norm: parsed.flag('norm'),
    topLogProbs: 0,
  };
  const seed = parsed.number('seed');
  const texts = await tokenTextsFor(parsed);
  const json = parsed.flag('json');
  const table = new Table(['position', 'id', 'log p', 'p', 'model p', ...(texts ? ['token'] : [])]);
  const percent = (logProb: number) => `${(100 * Math.exp(logProb)).toFixed(2)} %`;
  const work = async (hidden: Float32Array, first: number) => {
    // The token of a position does not depend on the blocks: it is that of step `position`.
    const random = seed === undefined ? {} : { seed, step: first };
    const drawn = await head.sample(hidden, { ...options, ...random, signal });
    const rows: string[][] = [];
    for (const [i, id] of drawn.ids.entries()) {
      const [logProb, modelLogProb] = [drawn.logProbs[i], drawn.modelLogProbs![i]];
      if (json) {
        const its = texts ? { text: texts.text(id) ?? null } : {};
        await out.write(jsonLine({ position: first + i, id, logProb, modelLogProb, ...its }));
      } else
        rows.push([
          ...[String(first + i), String(id), logProb.toFixed(3), percent(logProb), percent(modelLogProb)],
          ...(texts ? [tokenCell(texts, id)] : []),
        ]);
    }
    if (!json) await out.write(table.lines(rows));
  };
  const positions = await forEachBlock(head, parsed, terminal, { work });
  if (positions === 0 && !json) await out.write(table.lines([]));
  return true;
}
