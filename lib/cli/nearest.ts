import { LMHeadError } from '../errors';
import type { LMHead } from '../lm-head';
import type { Neighbors } from '../types';
import { forEachBlock } from './blocks';
import type { Command } from './command';
import { HEAD_OPTIONS, withNamed } from './head';
import { type Parsed, UsageError } from './options';
import { jsonLine, Table } from './output';
import type { Terminal } from './streams';
import { tokenCell, tokenTextsFor } from './tokenizer';

export const nearest: Command = {
  name: 'nearest',
  summary: 'The tokens whose rows of the matrix are most like one, or like a vector',
  file: 'required',
  options: ['id', 'token', 'hidden', 'k', 'metric', 'limit', 'tokenizer', ...HEAD_OPTIONS],
  own: {
    hidden: {
      value: 'H.npy',
      help: 'vectors to look for, an array [n, d]; - reads it from the standard input',
    },
  },
  examples: [
    [
      'lmhead nearest ./model-folder --token " cat" --metric cosine',
      'the ten tokens whose rows point most nearly the same way',
    ],
    ['lmhead nearest model.gguf --id 2368 -k 5 --json', 'of the token 2368, for a program'],
  ],
  async run(parsed, terminal) {
    const given = (['id', 'token', 'hidden'] as const).filter(name => parsed.text(name) !== undefined);
    if (given.length !== 1) {
      const got = given.length === 0 ? 'none' : given.map(name => `--${name}`).join(' and ');
      throw new UsageError(`nearest: got ${got}; want one of --id, --token, --hidden`);
    }
    if (given[0] !== 'hidden' && parsed.number('limit') !== undefined)
      throw new UsageError(`nearest: got --limit and --${given[0]}; want it beside --hidden`);
    return withNamed(parsed, head => printNearest(head, parsed, terminal));
  },
};

async function printNearest(head: LMHead, parsed: Parsed, terminal: Terminal): Promise<boolean> {
  const { out, signal } = terminal;
  const k = parsed.number('k') ?? Math.min(10, head.vocabSize);
  const options = { metric: parsed.text('metric') as 'dot' | 'cosine' | undefined, signal };
  const texts = await tokenTextsFor(parsed);
  const many = parsed.text('hidden') !== undefined;
  const similarity = options.metric ?? 'dot';
  const table = new Table([
    ...(many ? ['position'] : []),
    'rank',
    'id',
    similarity,
    ...(texts ? ['token'] : []),
  ]);
  const write = async ({ ids, similarities }: Neighbors, position?: number) => {
    if (parsed.flag('json')) {
      const its = texts ? { texts: Array.from(ids, id => texts.text(id) ?? null) } : {};
      const place = position === undefined ? {} : { position };
      await out.write(
        jsonLine({ ...place, ids: Array.from(ids), similarities: Array.from(similarities), ...its }),
      );
      return;
    }
    const rows = Array.from(ids, (id, i) => [
      ...(position === undefined ? [] : [i === 0 ? String(position) : '']),
      ...[String(i + 1), String(id), similarities[i].toFixed(4)],
      ...(texts ? [tokenCell(texts, id)] : []),
    ]);
    await out.write(table.lines(rows));
  };
  if (many) {
    const work = async (hidden: Float32Array, first: number) => {
      const d = head.hiddenSize;
      for (let at = 0; at < hidden.length; at += d)
        await write(await head.nearest(hidden.subarray(at, at + d), k, options), first + at / d);
    };
    await forEachBlock(head, parsed, terminal, { results: k, work });
    return true;
  }
  const token = parsed.text('token');
  let id = parsed.number('id');
  if (token !== undefined) {
    if (!texts)
      throw new LMHeadError(
        'TENSOR',
        'token: got a text without a tokenizer; want --tokenizer FILE, or --id',
      );
    id = texts.idOf(token);
    if (id === undefined)
      throw new LMHeadError(
        'RANGE',
        `token: got ${JSON.stringify(token.slice(0, 80))}, which is no single token of ${texts.source}; want one that is, often with a space before it`,
      );
  }
  await write(await head.nearest(id!, k, options));
  return true;
}
