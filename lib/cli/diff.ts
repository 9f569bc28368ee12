import { LMHeadError } from '../errors';
import { LMHead } from '../lm-head';
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
  const request = { logits: true, logProbs: true, argmax: true, norm: parsed.flag('norm'), signal } as const;
  let sums = { max: 0, squares: 0, compared: 0, divergence: 0, agreeing: 0 };
  const table = new Table([
    ...['position', 'max', 'rms', 'KL', 'best', 'best of OTHER'],
    ...(texts ? ['token', 'token of OTHER'] : []),
  ]);
  const work = async (hidden: Float32Array, first: number) => {
    const [one, other] = await Promise.all([a.run(hidden, request), b.run(hidden, request)]);
    const own = { ...sums };
    const rows: string[][] = [];
    for (let i = 0; i < hidden.length / a.hiddenSize; i++) {
      const found = differences(one, i * a.vocabSize, other, i * b.vocabSize, a.vocabSize, b.vocabSize);
      const best = [one.argmax[i], other.argmax[i]];
      own.max = Math.max(own.max, found.max);
      own.squares += found.squares;
      own.compared += found.compared;
      own.divergence += found.divergence;
      own.agreeing += Number(best[0] === best[1]);
      if (!each) continue;
      const rms = Math.sqrt(found.squares / found.compared);
      if (json) {
        const its = texts ? { texts: best.map(id => texts.text(id) ?? null) } : {};
        const line = {
          position: first + i,
          max: found.max,
          rms,
          klDivergence: found.divergence,
          argmax: best,
        };
        await out.write(jsonLine({ ...line, ...its }));
      } else
        rows.push([
          ...[String(first + i), found.max.toExponential(2), rms.toExponential(2)],
          ...[found.divergence.toExponential(2), ...best.map(String)],
          ...(texts ? best.map(id => tokenCell(texts, id)) : []),
        ]);
    }
    if (rows.length > 0) await out.write(table.lines(rows));
    sums = own;
  };
  const summary = (positions: number, complete: boolean) => {
    const { max, squares, compared, divergence, agreeing } = sums;
    const rms = Math.sqrt(squares / compared);
    const found = {
      positions,
      max,
      rms,
      klDivergence: divergence / positions,
      argmaxAgreement: agreeing / positions,
    };
    if (json) return jsonLine({ ...found, ...(complete ? {} : { complete }) });
    const gap = !each ? '' : positions > 0 ? '\n' : `${table.lines([])}\n`;
    return (
      gap +
      pairs([
        ['positions', `${count(positions)} over ${count(Math.min(a.vocabSize, b.vocabSize))} tokens`],
        ['logits', `differ by ${max.toExponential(2)} at most, root mean square ${rms.toExponential(2)}`],
        ['KL', `${found.klDivergence.toExponential(2)} nats a position, of OTHER from FILE`],
        ['best tokens', `the same at ${(100 * found.argmaxAgreement).toFixed(2)} % of the positions`],
      ])
    );
  };
  const results = 4 * Math.max(a.vocabSize, b.vocabSize);
  await forEachBlock(a, parsed, terminal, { results, work, summary });
  return true;
}

interface Distribution {
  logits: Float32Array;
  logProbs: Float32Array;
}

/** Of a row each, of which one may be longer: beyond the other's end there are no logits to compare, but there may be probability. */
function differences(a: Distribution, i: number, b: Distribution, j: number, sizeA: number, sizeB: number) {
  let max = 0;
  let squares = 0;
  let compared = 0;
  let divergence = 0;
  for (let id = 0; id < sizeA; id++) {
    const logP = a.logProbs[i + id];
    const logQ = id < sizeB ? b.logProbs[j + id] : Number.NEGATIVE_INFINITY;
    if (logP > Number.NEGATIVE_INFINITY) divergence += Math.exp(logP) * (logP - logQ);
    const [u, v] = [a.logits[i + id], id < sizeB ? b.logits[j + id] : Number.NEGATIVE_INFINITY];
    // Padding of either.
    if (u === Number.NEGATIVE_INFINITY || v === Number.NEGATIVE_INFINITY) continue;
    const difference = Math.abs(u - v);
    max = Math.max(max, difference);
    squares += difference * difference;
    compared++;
  }
  return { max, squares, compared, divergence };
}
