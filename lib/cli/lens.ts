import { type LensGrid, lensGrid, positionsAtOnce } from '../lens/grid';
import type { LMHead } from '../lm-head';
import type { Command } from './command';
import { HEAD_OPTIONS, withNamed } from './head';
import { HiddenFile } from './npy-rows';
import { type Parsed, UsageError } from './options';
import { count, jsonLine, Table } from './output';
import { Progress } from './progress';
import { Interrupted, type Terminal } from './streams';
import { tokenCell, tokenTextsFor } from './tokenizer';

const K = 3;

export const lens: Command = {
  name: 'lens',
  summary: 'What each layer of a model would say: the logit lens',
  file: 'required',
  options: ['hidden', 'positions', 'k', 'last-normed', 'limit', 'tokenizer', ...HEAD_OPTIONS],
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
      'lmhead lens ./model-folder --hidden layers.npy --positions 10-19 -k 1 --json',
      'of ten positions, for a program',
    ],
  ],
  async run(parsed, terminal) {
    return withNamed(parsed, head => printLens(head, parsed, terminal));
  },
};

async function printLens(head: LMHead, parsed: Parsed, terminal: Terminal): Promise<boolean> {
  const { out, signal } = terminal;
  const json = parsed.flag('json');
  const k = parsed.number('k') ?? Math.min(K, head.vocabSize);
  const wanted = parsed.text('positions');
  const texts = await tokenTextsFor(parsed);
  const table = new Table([
    ...['position', 'layer', 'rank', 'id', 'logit', 'p', 'entropy', 'final rank', 'KL to last'],
    ...(texts ? ['token'] : []),
  ]);
  const write = async (grid: LensGrid, places: readonly number[]) => {
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
          const line = { position: places[p], layer, ...best, logSumExp: grid.logSumExp[i], ...own, ...said };
          await out.write(jsonLine(line));
          continue;
        }
        for (let j = 0; j < k; j++) {
          const first = j === 0;
          const at = i * k + j;
          rows.push([
            ...[first && layer === 0 ? String(places[p]) : '', first ? String(layer) : '', String(j + 1)],
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
  await forEachPositions(head, parsed, terminal, wanted, async (hidden, layers, places) => {
    const states = { hidden, layers, positions: places.length };
    await write(await lensGrid(head, states, k, { lastNormed: parsed.flag('last-normed'), signal }), places);
  });
  return true;
}

/** The states of some positions at a time, [layers, positions, d]. */
async function forEachPositions(
  head: LMHead,
  parsed: Parsed,
  terminal: Terminal,
  wanted: string | undefined,
  work: (hidden: Float32Array, layers: number, places: number[]) => Promise<void>,
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
    const places = positionsOf(wanted, n).slice(0, parsed.number('limit') ?? Infinity);
    total = places.length;
    progress = new Progress(terminal, total, 'positions');
    // What comes from a pipe comes layer by layer.
    const whole = file.isPipe ? await file.read(0, layers * n) : undefined;
    const most = positionsAtOnce(head, layers);
    for (; done < total; done += most) {
      progress.update(done);
      const some = places.slice(done, done + most);
      const hidden = new Float32Array(layers * some.length * d);
      for (let layer = 0; layer < layers; layer++) {
        for (const [i, place] of some.entries()) {
          const row = layer * n + place;
          const state = whole ? whole.subarray(row * d, (row + 1) * d) : await file.read(row, 1);
          hidden.set(state, (layer * some.length + i) * d);
        }
      }
      await work(hidden, layers, some);
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
  const places: number[] = [];
  for (const part of list.split(',')) {
    const [, from, to = from] = /^\s*(\d{1,9})(?:-(\d{1,9}))?\s*$/.exec(part) ?? [];
    const [first, last] = [Number(from), Number(to)];
    if (from === undefined || first > last || last >= n)
      throw new UsageError(`--positions: got '${part}'; want positions from 0 to ${n - 1}, such as 0-9,12`);
    for (let place = first; place <= last; place++) places.push(place);
  }
  return places;
}
