import { basename } from 'node:path';
import { joinGrids, type LensGrid, type LensStates, lensGrid, positionsAtOnce } from '../lens/grid';
import { loadTranslators } from '../lens/load-translators';
import type { LMHead } from '../lm-head';
import { lensPage } from '../pages/lens-page';
import type { TokenTexts } from '../tokens/token-texts';
import type { Command } from './command';
import { HEAD_OPTIONS, withNamed } from './head';
import { writePage } from './html';
import { HiddenFile, TargetFile } from './npy-rows';
import { type Parsed, UsageError } from './options';
import { count, jsonLine, Table } from './output';
import { Progress } from './progress';
import { Interrupted, type Terminal } from './streams';
import { tokenCell, tokenTextsFor } from './tokenizer';

/** Best tokens of a cell: in a table, and in a page, where they show for one at a time. */
const K = 3;
const K_OF_PAGE = 5;
/** More cells make a page that no browser scrolls well. */
const MOST_CELLS = 100_000;

export const lens: Command = {
  name: 'lens',
  summary: 'What each layer of a model would say: the logit lens',
  file: 'required',
  options: [
    ...([
      'hidden',
      'positions',
      'k',
      'last-normed',
      'translators',
      'affine',
      'html',
      'inputs',
      'limit',
      'tokenizer',
    ] as const),
    ...HEAD_OPTIONS,
  ],
  required: ['hidden'],
  own: {
    hidden: {
      value: 'L.npy',
      help: 'states after each layer, before the final norm: [layers, d] or [layers, n, d]; - is the standard input',
    },
    positions: {
      value: 'LIST',
      bare: 'all',
      help: 'which positions of [layers, n, d], such as 0-9,12 (default, and without LIST: all)',
    },
    k: {
      value: 'K',
      short: 'k',
      help: `how many tokens of each layer (default ${K})`,
      number: { least: 1, most: 2 ** 32 - 1, whole: true },
    },
  },
  examples: [
    [
      'lmhead lens ./model-folder --hidden layers.npy',
      'the best tokens after every layer, and how far each is from the last',
    ],
    [
      'lmhead lens ./model-folder --hidden layers.npy --inputs ids.npy --html lens.html',
      'a page to look at in a browser',
    ],
    [
      'lmhead lens ./model-folder --hidden layers.npy --positions 10-19 -k 1 --json',
      'of ten positions, for a program',
    ],
  ],
  async run(parsed, terminal) {
    return withNamed(parsed, head => printLens(head, parsed, terminal));
  },
};

async function printLens(head: LMHead, parsed: Parsed, terminal: Terminal): Promise<boolean> {
  const html = parsed.text('html');
  const json = parsed.flag('json');
  const k = parsed.number('k') ?? Math.min(html === undefined ? K : K_OF_PAGE, head.vocabSize);
  if (html === undefined && parsed.text('inputs') !== undefined)
    throw new UsageError('lens: got --inputs without --html; want both');
  const file = parsed.text('translators');
  if (file === undefined && parsed.flag('affine'))
    throw new UsageError('lens: got --affine without --translators; want both');
  const translators =
    file === undefined ? undefined : await loadTranslators(file, { residual: !parsed.flag('affine') });
  const texts = await tokenTextsFor(parsed);
  const write = html === undefined ? tableWriter(terminal, texts, k, json) : undefined;
  const grids: LensGrid[] = [];
  const chosen: number[] = [];
  let inputs: BigInt64Array | undefined;
  const before = async (layers: number, n: number, wanted: number) => {
    if (html !== undefined && layers * wanted > MOST_CELLS)
      throw new UsageError(
        `--html: got ${count(layers)} layers × ${count(wanted)} positions; want ${count(MOST_CELLS)} cells at most, by --positions or --limit`,
      );
    inputs = await inputsOf(parsed, n);
  };
  const work = async (states: LensStates, some: number[]) => {
    const options = { lastNormed: parsed.flag('last-normed'), translators, signal: terminal.signal };
    const grid = await lensGrid(head, states, k, options);
    if (write) return write(grid, some);
    grids.push(grid);
    chosen.push(...some);
  };
  const writeHtml = async () => {
    if (html === undefined || grids.length === 0) return;
    const grid = joinGrids(grids);
    await writePage(html, pageOf(grid, chosen, parsed, texts, inputs));
    const { layers, positions } = grid;
    const said = json
      ? jsonLine({ html, layers, positions, k })
      : `${html}: ${count(layers)} layers × ${count(positions)} positions\n`;
    await terminal.out.last(said);
  };
  try {
    await forEachPositions(head, parsed, terminal, before, work);
  } catch (error) {
    if (error instanceof Interrupted) await writeHtml();
    throw error;
  }
  await writeHtml();
  return true;
}

function pageOf(
  grid: LensGrid,
  chosen: number[],
  parsed: Parsed,
  texts: TokenTexts | undefined,
  inputs: BigInt64Array | undefined,
): string {
  const { layers, positions, k, ids, logits, logProbs, logSumExp } = grid;
  const token = texts && ((id: number) => texts.text(id));
  return lensPage(
    { n: layers * positions, k, ids, logits, logProbs, logSumExp },
    {
      ...{ positions, entropy: grid.entropy, ranks: grid.ranks, klDivergence: grid.klDivergence, token },
      positionNames: chosen.map(String),
      inputs: inputs && chosen.map(position => token?.(Number(inputs[position])) ?? String(inputs[position])),
      title: `Logit lens of ${basename(parsed.file!)}`,
    },
  );
}

async function inputsOf(parsed: Parsed, n: number): Promise<BigInt64Array | undefined> {
  const path = parsed.text('inputs');
  if (path === undefined) return undefined;
  const file = await TargetFile.open(path, n, 'inputs');
  try {
    return await file.read(0, n);
  } finally {
    await file.close();
  }
}

type Writer = (grid: LensGrid, chosen: readonly number[]) => Promise<void>;

function tableWriter({ out }: Terminal, texts: TokenTexts | undefined, k: number, json: boolean): Writer {
  const table = new Table([
    ...['position', 'layer', 'rank', 'id', 'logit', 'p', 'entropy', 'final rank', 'KL to last'],
    ...(texts ? ['token'] : []),
  ]);
  return async (grid, chosen) => {
    const rows: string[][] = [];
    for (let p = 0; p < grid.positions; p++) {
      for (let layer = 0; layer < grid.layers; layer++) {
        const i = layer * grid.positions + p;
        const part = <T>(array: ArrayLike<T>) => Array.from({ length: k }, (_, j) => array[i * k + j]);
        const ids = part(grid.ids);
        const own = {
          entropy: grid.entropy[i],
          finalRank: grid.ranks[i],
          klDivergence: grid.klDivergence[i],
        };
        if (json) {
          const best = { ids, logits: part(grid.logits), logProbs: part(grid.logProbs) };
          const said = texts ? { texts: ids.map(id => texts.text(id) ?? null) } : {};
          const line = { position: chosen[p], layer, ...best, logSumExp: grid.logSumExp[i], ...own, ...said };
          await out.write(jsonLine(line));
          continue;
        }
        for (let j = 0; j < k; j++) {
          const first = j === 0;
          const at = i * k + j;
          rows.push([
            ...[first && layer === 0 ? String(chosen[p]) : '', first ? String(layer) : '', String(j + 1)],
            ...[
              String(ids[j]),
              grid.logits[at].toFixed(3),
              `${(100 * Math.exp(grid.logProbs[at])).toFixed(2)} %`,
            ],
            ...(first
              ? [own.entropy.toFixed(3), String(own.finalRank), own.klDivergence.toFixed(3)]
              : ['', '', '']),
            ...(texts ? [tokenCell(texts, ids[j])] : []),
          ]);
        }
      }
    }
    if (!json) await out.write(table.lines(rows));
    await out.flush();
  };
}

/** The states of some positions at a time, [layers, positions, d]. */
async function forEachPositions(
  head: LMHead,
  parsed: Parsed,
  terminal: Terminal,
  before: (layers: number, n: number, wanted: number) => Promise<void>,
  work: (states: LensStates, chosen: number[]) => Promise<void>,
): Promise<void> {
  const { signal } = terminal;
  const d = head.hiddenSize;
  const file = await HiddenFile.open(parsed.text('hidden')!, d, terminal, true);
  let done = 0;
  let total = 0;
  let progress: Progress | undefined;
  try {
    const [layers, n = 1] = file.shape.length > 0 ? file.shape : [1];
    if (layers === 0) return;
    const chosen = positionsOf(parsed.text('positions'), n).slice(0, parsed.number('limit') ?? Infinity);
    total = chosen.length;
    await before(layers, n, total);
    progress = new Progress(terminal, total, 'positions');
    // What comes from a pipe comes layer by layer.
    const whole = file.isPipe ? await file.read(0, layers * n) : undefined;
    const most = positionsAtOnce(head, layers);
    for (; done < total; done += most) {
      progress.update(done);
      const some = chosen.slice(done, done + most);
      const hidden = new Float32Array(layers * some.length * d);
      for (let layer = 0; layer < layers; layer++) {
        for (const [i, position] of some.entries()) {
          const row = layer * n + position;
          const state = whole ? whole.subarray(row * d, (row + 1) * d) : await file.read(row, 1);
          hidden.set(state, (layer * some.length + i) * d);
        }
      }
      await work({ hidden, layers, positions: some.length }, some);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new Interrupted(`after ${count(Math.min(done, total))} of ${count(total)} positions`);
  } finally {
    progress?.end();
    await file.close();
  }
}

/** @throws UsageError for what is no list of positions below n */
function positionsOf(list: string | undefined, n: number): number[] {
  if (list === undefined || list === 'all') return Array.from({ length: n }, (_, i) => i);
  const chosen: number[] = [];
  for (const part of list.split(',')) {
    const [, from, to = from] = /^\s*(\d{1,9})(?:-(\d{1,9}))?\s*$/.exec(part) ?? [];
    const [first, last] = [Number(from), Number(to)];
    if (from === undefined || first > last || last >= n)
      throw new UsageError(`--positions: got '${part}'; want positions from 0 to ${n - 1}, such as 0-9,12`);
    for (let position = first; position <= last; position++) chosen.push(position);
  }
  return chosen;
}
