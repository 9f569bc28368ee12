import type { LMHead } from '../lm-head';
import { forEachBlock } from './blocks';
import type { Command } from './command';
import { HEAD_OPTIONS, withNamed } from './head';
import type { Parsed } from './options';
import { jsonLine, Table } from './output';
import type { Terminal } from './streams';
import { tokenCell, tokenTextsFor } from './tokenizer';

export const topk: Command = {
  name: 'topk',
  summary: 'The best tokens after each hidden state',
  file: 'required',
  options: ['hidden', 'k', 'temperature', 'norm', 'limit', 'tokenizer', ...HEAD_OPTIONS],
  required: ['hidden'],
  examples: [
    [
      'lmhead topk model.safetensors --hidden h.npy -k 5',
      'ids, logits and probabilities of the five best, for every row of h.npy',
    ],
    [
      'lmhead topk model.gguf --hidden h.npy --norm --json | jq .ids[0]',
      'the best id of each row, after the final norm',
    ],
  ],
  async run(parsed, terminal) {
    return withNamed(parsed, head => printBest(head, parsed, terminal));
  },
};

/** So many lines of a table are laid out at once. */
const ROWS = 8192;

async function printBest(head: LMHead, parsed: Parsed, terminal: Terminal): Promise<boolean> {
  const { out, signal } = terminal;
  const k = parsed.number('k') ?? Math.min(10, head.vocabSize);
  const options = { temperature: parsed.number('temperature'), norm: parsed.flag('norm'), signal };
  const json = parsed.flag('json');
  const texts = await tokenTextsFor(parsed);
  const table = new Table(['position', 'rank', 'id', 'logit', 'log p', 'p', ...(texts ? ['token'] : [])]);
  let rows: string[][] = [];
  const writeRows = async () => {
    await out.write(table.lines(rows));
    rows = [];
  };
  const work = async (hidden: Float32Array, first: number) => {
    const { n, ids, logits, logProbs, logSumExp } = await head.topK(hidden, k, options);
    for (let i = 0; i < n; i++) {
      const part = <T>(array: ArrayLike<T>) => Array.from({ length: k }, (_, j) => array[i * k + j]);
      if (json) {
        const line = {
          position: first + i,
          ids: part(ids),
          ...(texts ? { texts: part(ids).map(id => texts.text(id) ?? null) } : {}),
          logits: part(logits),
          logProbs: part(logProbs),
        };
        await out.write(jsonLine({ ...line, logSumExp: logSumExp[i] }));
        continue;
      }
      for (let j = i * k; j < (i + 1) * k; j++) {
        const rank = String(j - i * k + 1);
        const p = Math.exp(logProbs[j]);
        rows.push([
          ...[rank === '1' ? String(first + i) : '', rank, String(ids[j])],
          ...[logits[j].toFixed(3), logProbs[j].toFixed(3), `${(100 * p).toFixed(2)} %`],
          ...(texts ? [tokenCell(texts, ids[j])] : []),
        ]);
        if (rows.length === ROWS) await writeRows();
      }
    }
    if (rows.length > 0) await writeRows();
  };
  const positions = await forEachBlock(head, parsed, terminal, { results: k, work });
  if (positions === 0 && !json) await writeRows();
  return true;
}
