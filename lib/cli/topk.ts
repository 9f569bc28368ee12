import { forEachBlock } from './blocks';
import type { Command } from './command';
import { HEAD_OPTIONS, openNamed } from './head';
import { jsonLine, table } from './output';

export const topk: Command = {
  name: 'topk',
  summary: 'The best tokens after each hidden state',
  file: 'required',
  options: ['hidden', 'k', 'temperature', 'norm', ...HEAD_OPTIONS],
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
  async run(parsed, streams) {
    const head = await openNamed(parsed);
    const k = parsed.number('k') ?? Math.min(10, head.vocabSize);
    const options = { temperature: parsed.number('temperature'), norm: parsed.flag('norm') };
    const json = parsed.flag('json');
    const rows: string[][] = [];
    await forEachBlock(head, parsed, streams, async (hidden, first) => {
      const { n, ids, logits, logProbs, logSumExp } = await head.topK(hidden, k, options);
      for (let i = 0; i < n; i++) {
        const part = <T>(array: ArrayLike<T>) => Array.from({ length: k }, (_, j) => array[i * k + j]);
        if (json) {
          const line = {
            position: first + i,
            ids: part(ids),
            logits: part(logits),
            logProbs: part(logProbs),
          };
          streams.stdout.write(jsonLine({ ...line, logSumExp: logSumExp[i] }));
          continue;
        }
        for (let j = i * k; j < (i + 1) * k; j++) {
          const rank = String(j - i * k + 1);
          const p = Math.exp(logProbs[j]);
          rows.push([
            ...[rank === '1' ? String(first + i) : '', rank, String(ids[j])],
            ...[logits[j].toFixed(3), logProbs[j].toFixed(3), `${(100 * p).toFixed(2)} %`],
          ]);
        }
      }
    });
    if (!json) streams.stdout.write(table(['position', 'rank', 'id', 'logit', 'log p', 'p'], rows));
    head.close();
    return true;
  },
};
