import { LMHeadError } from '../errors';
import type { LMHead } from '../lm-head';
import { forEachBlock } from './blocks';
import type { Command } from './command';
import { HEAD_OPTIONS, withNamed } from './head';
import { writePage } from './html';
import { TargetFile } from './npy-rows';
import { type Parsed, UsageError } from './options';
import { count, jsonLine, pairs, Table } from './output';
import { ScoredText } from './scored-text';
import type { Terminal } from './streams';
import { tokenCell, tokenTextsFor } from './tokenizer';

/** In a page: likelier tokens of each position; and more positions make one that no browser scrolls well. */
const ALTERNATIVES = 5;
const MOST_SHOWN = 50_000;

export const score: Command = {
  name: 'score',
  summary: 'The probability of given tokens: loss, perplexity, ranks',
  file: 'required',
  options: [
    ...(['hidden', 'targets', 'ignore-index', 'each', 'entropy', 'temperature', 'norm'] as const),
    ...(['html', 'limit', 'tokenizer'] as const),
    ...HEAD_OPTIONS,
  ],
  required: ['hidden', 'targets'],
  examples: [
    [
      'lmhead score model.safetensors --hidden h.npy --targets t.npy',
      'mean loss and perplexity of the tokens t.npy after the hidden states h.npy',
    ],
    [
      'lmhead score ./model-folder --hidden h.npy --targets t.npy --html text.html',
      'a page with the text, colored by surprisal',
    ],
    [
      'lmhead score model.safetensors --hidden h.npy --targets t.npy --ignore-index -100 --each --json',
      'a line of JSON for every position, and one for the summary',
    ],
  ],
  async run(parsed, terminal) {
    return withNamed(parsed, head => printScores(head, parsed, terminal));
  },
};

async function printScores(head: LMHead, parsed: Parsed, terminal: Terminal): Promise<boolean> {
  const { out, signal } = terminal;
  const [json, each, entropy] = [parsed.flag('json'), parsed.flag('each'), parsed.flag('entropy')];
  const options = {
    ignoreIndex: parsed.number('ignore-index'),
    temperature: parsed.number('temperature'),
    norm: parsed.flag('norm'),
    entropy,
    signal,
  };
  const html = parsed.text('html');
  const texts = each || html !== undefined ? await tokenTextsFor(parsed) : undefined;
  const pageParts =
    html === undefined
      ? undefined
      : new ScoredText(parsed.file!, texts, Math.min(ALTERNATIVES, head.vocabSize));
  let sums = { positions: 0, counted: 0, loss: 0, first: 0, entropy: 0 };
  const table = new Table([
    ...['position', 'target', 'log p', 'rank'],
    ...(entropy ? ['entropy'] : []),
    ...(texts ? ['token'] : []),
  ]);
  let targets: TargetFile | undefined;
  const work = async (hidden: Float32Array, first: number) => {
    const n = hidden.length / head.hiddenSize;
    const wanted = await targets!.read(first, n);
    const scored = async () => {
      if (!pageParts) return head.score(hidden, wanted, options);
      const { score: its, top } = await head.run(hidden, { ...options, targets: wanted, top: pageParts.k });
      pageParts.add(wanted, its, top);
      return its;
    };
    const result = await scored().catch((error: unknown) => {
      throw inFile(error, first);
    });
    const rows: string[][] = [];
    const own = { ...sums };
    for (let i = 0; i < n; i++) {
      if (result.ranks[i] > 0) {
        own.counted++;
        own.loss -= result.logProbs[i];
        own.first += Number(result.ranks[i] === 1);
        own.entropy += result.entropy?.[i] ?? 0;
      }
      if (!each) continue;
      const line = {
        position: first + i,
        target: Number(wanted[i]),
        logProb: result.logProbs[i],
        rank: result.ranks[i],
      };
      const its = {
        ...(result.entropy ? { entropy: result.entropy[i] } : {}),
        ...(texts ? { text: texts.text(line.target) ?? null } : {}),
      };
      if (json) await out.write(jsonLine({ ...line, ...its }));
      else
        rows.push([
          ...[line.position, line.target].map(String),
          ...(line.rank > 0 ? [line.logProb.toFixed(4), String(line.rank)] : ['', '']),
          ...(result.entropy ? [line.rank > 0 ? result.entropy[i].toFixed(4) : ''] : []),
          ...(texts ? [tokenCell(texts, line.target)] : []),
        ]);
    }
    if (rows.length > 0) await out.write(table.lines(rows));
    own.positions += n;
    // Of a block that a signal has stopped, nothing counts.
    sums = own;
  };
  const before = async (n: number) => {
    targets = await TargetFile.open(parsed.text('targets')!, n);
    const shown = Math.min(n, parsed.number('limit') ?? n);
    if (pageParts && shown > MOST_SHOWN)
      throw new UsageError(
        `--html: got ${count(shown)} positions; want ${count(MOST_SHOWN)} at most, by --limit`,
      );
  };
  const summary = (positions: number, complete: boolean) => {
    const gap = !each || json ? '' : positions > 0 ? '\n' : `${table.lines([])}\n`;
    return gap + summaryOf(sums, positions, complete, json, entropy);
  };
  try {
    await forEachBlock(head, parsed, terminal, { before, work, summary });
  } finally {
    await targets?.close();
    // Of a run that was stopped, what was done.
    if (pageParts && sums.positions > 0)
      await writePage(
        html!,
        pageParts.page(sums.positions, summaryOf(sums, sums.positions, true, false, entropy)),
      );
  }
  return true;
}

function summaryOf(
  sums: { counted: number; loss: number; first: number; entropy: number },
  positions: number,
  complete: boolean,
  json: boolean,
  entropy: boolean,
): string {
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
    const more = entropy ? { entropy: sums.entropy / counted } : {};
    return jsonLine({ ...summary, ...more, ...(complete ? {} : { complete }) });
  }
  return pairs([
    [
      'positions',
      counted === positions ? count(positions) : `${count(positions)}, of which ${count(counted)} count`,
    ],
    ['loss', `${nll.toFixed(4)} nats a token (${(nll / Math.LN2).toFixed(4)} bits)`],
    ['perplexity', summary.perplexity.toPrecision(5)],
    ['ranked first', `${(100 * summary.first).toFixed(1)} %`],
    ...(entropy ? [['entropy', `${(sums.entropy / counted).toFixed(4)} nats`] as [string, string]] : []),
  ]);
}

/** Positions in messages are those of the block: say where that begins. */
function inFile(error: unknown, first: number): unknown {
  if (!(error instanceof LMHeadError) || first === 0) return error;
  const kind = error.code.replace('ERR_LMHEAD_', '') as ConstructorParameters<typeof LMHeadError>[0];
  return new LMHeadError(kind, `${error.message} (counted from position ${first})`, { cause: error });
}
