import { LMHeadError } from '../errors';
import { forEachBlock } from './blocks';
import type { Command } from './command';
import { HEAD_OPTIONS, openNamed } from './head';
import { readTargets } from './npy-rows';
import { count, jsonLine, pairs, table } from './output';

export const score: Command = {
  name: 'score',
  summary: 'The probability of given tokens: loss, perplexity, ranks',
  file: 'required',
  options: ['hidden', 'targets', 'ignore-index', 'each', 'entropy', 'temperature', 'norm', ...HEAD_OPTIONS],
  required: ['hidden', 'targets'],
  examples: [
    [
      'lmhead score model.safetensors --hidden h.npy --targets t.npy',
      'mean loss and perplexity of the tokens t.npy after the hidden states h.npy',
    ],
    [
      'lmhead score model.safetensors --hidden h.npy --targets t.npy --ignore-index -100 --each --json',
      'a line of JSON for every position, and one for the summary',
    ],
  ],
  async run(parsed, streams) {
    const head = await openNamed(parsed);
    const [json, each, entropy] = [parsed.flag('json'), parsed.flag('each'), parsed.flag('entropy')];
    const options = {
      ignoreIndex: parsed.number('ignore-index'),
      temperature: parsed.number('temperature'),
      norm: parsed.flag('norm'),
      entropy,
    };
    const sums = { counted: 0, loss: 0, first: 0, entropy: 0 };
    const rows: string[][] = [];
    let targets: BigInt64Array = new BigInt64Array();
    const positions = await forEachBlock(
      head,
      parsed,
      streams,
      async (hidden, first) => {
        const n = hidden.length / head.hiddenSize;
        const wanted = targets.subarray(first, first + n);
        const result = await head.score(hidden, wanted, options).catch((error: unknown) => {
          throw inFile(error, first);
        });
        for (let i = 0; i < n; i++) {
          if (result.ranks[i] > 0) {
            sums.counted++;
            sums.loss -= result.logProbs[i];
            sums.first += Number(result.ranks[i] === 1);
            sums.entropy += result.entropy?.[i] ?? 0;
          }
          if (!each) continue;
          const line = {
            position: first + i,
            target: Number(wanted[i]),
            logProb: result.logProbs[i],
            rank: result.ranks[i],
          };
          const its = result.entropy ? { entropy: result.entropy[i] } : {};
          if (json) streams.stdout.write(jsonLine({ ...line, ...its }));
          else
            rows.push([
              ...[line.position, line.target].map(String),
              ...(line.rank > 0 ? [line.logProb.toFixed(4), String(line.rank)] : ['', '']),
              ...(result.entropy ? [line.rank > 0 ? result.entropy[i].toFixed(4) : ''] : []),
            ]);
        }
      },
      async n => {
        targets = await readTargets(parsed.text('targets')!, n);
      },
    );
    head.close();

    const { counted } = sums;
    const nll = sums.loss / counted; // NaN where nothing counts
    const summary = {
      positions,
      count: counted,
      nll,
      perplexity: Math.exp(nll),
      first: sums.first / counted,
    };
    if (json) {
      streams.stdout.write(jsonLine(entropy ? { ...summary, entropy: sums.entropy / counted } : summary));
      return true;
    }
    if (each) {
      const titles = ['position', 'target', 'log p', 'rank', ...(entropy ? ['entropy'] : [])];
      streams.stdout.write(`${table(titles, rows)}\n`);
    }
    streams.stdout.write(
      pairs([
        [
          'positions',
          counted === positions ? count(positions) : `${count(positions)}, of which ${count(counted)} count`,
        ],
        ['loss', `${nll.toFixed(4)} nats a token (${(nll / Math.LN2).toFixed(4)} bits)`],
        ['perplexity', summary.perplexity.toPrecision(5)],
        ['ranked first', `${(100 * summary.first).toFixed(1)} %`],
        ...(entropy ? [['entropy', `${(sums.entropy / counted).toFixed(4)} nats`] as [string, string]] : []),
      ]),
    );
    return true;
  },
};

/** Positions in messages are those of the block: say where that begins. */
function inFile(error: unknown, first: number): unknown {
  if (!(error instanceof LMHeadError) || first === 0) return error;
  const kind = error.code.replace('ERR_LMHEAD_', '') as ConstructorParameters<typeof LMHeadError>[0];
  return new LMHeadError(kind, `${error.message} (counted from position ${first})`, { cause: error });
}
