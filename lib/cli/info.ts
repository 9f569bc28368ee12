import type { MatrixSource } from '../backend/backend';
import { capabilities } from '../backend/choose';
import { ROW_FORMATS } from '../dtypes/row-format';
import { type HeadReport, openHead } from '../head/open';
import type { Command } from './command';
import { HEAD_OPTIONS, openOptions, withNamed } from './head';
import { bytesText, count, jsonLine, pairs } from './output';

export const info: Command = {
  name: 'info',
  summary: 'What a file of weights holds, and how it would run here',
  file: 'required',
  options: HEAD_OPTIONS,
  examples: [
    ['lmhead info model.safetensors', 'shape, type of number, tie, final norm, bytes'],
    ['lmhead info ./a-model-folder --json', 'the same for a program'],
  ],
  async run(parsed, { out }) {
    const options = openOptions(parsed);
    // The parts, for what a head does not show of itself; they are mapped, not read.
    const { spec, settings, backend, report } = await openHead(parsed.file, options);
    backend.close();
    return withNamed(parsed, async head => {
      const { output, input, epilogue } = spec;
      const { norm, embeddingScale } = settings;
      const { isa } = capabilities();
      const bytes = bytesOf(output) + (input ? bytesOf(input) : 0);
      const facts = {
        family: report.family ?? null,
        tensors: { output: report.output, input: report.input ?? null },
        vocabSize: head.vocabSize,
        validVocabSize: epilogue.validVocabSize,
        hiddenSize: head.hiddenSize,
        dtype: head.dtype,
        bytes,
        screen: head.screening?.bytes ?? null,
        mapped: output.kind === 'file' && output.mmap && output.layout === 'vd',
        tied: head.tied,
        inputRows: head.tied || input ? head.inputVocabSize : null,
        parameters: head.parameterCount,
        bias: epilogue.bias !== undefined,
        norm: norm
          ? { type: norm.type, eps: norm.eps, ...(norm.offset ? { offset: norm.offset } : {}) }
          : null,
        logitScale: epilogue.logitScale,
        softCap: epilogue.softCap || null,
        embeddingScale,
        backend: head.backend,
        isa: head.backend === 'native' ? isa : null,
        threads: head.threads,
        origins: report.origins,
      };
      await out.write(parsed.flag('json') ? jsonLine({ file: parsed.file, ...facts }) : forPeople(facts));
      return true;
    });
  },
};

function forPeople(facts: {
  family: string | null;
  vocabSize: number;
  validVocabSize: number;
  hiddenSize: number;
  dtype: string;
  bytes: number;
  screen: number | null;
  mapped: boolean;
  tied: boolean;
  inputRows: number | null;
  parameters: number;
  bias: boolean;
  norm: { type: string; eps: number; offset?: number } | null;
  logitScale: number;
  softCap: number | null;
  embeddingScale: number;
  backend: string;
  isa: string | null;
  threads: number;
  origins: HeadReport['origins'];
}): string {
  const { origins } = facts;
  const padding = facts.vocabSize - facts.validVocabSize;
  const { norm } = facts;
  const threads = `${facts.threads} ${facts.threads === 1 ? 'thread' : 'threads'}`;
  const optional: [string, string | undefined][] = [
    ['bias', facts.bias ? `yes (${origins.bias})` : undefined],
    [
      'norm',
      norm
        ? `${norm.type}, eps ${norm.eps}${norm.offset ? `, weight + ${norm.offset}` : ''} (${origins.norm})`
        : 'none found',
    ],
    ['logit scale', facts.logitScale === 1 ? undefined : `${facts.logitScale} (${origins.logitScale})`],
    ['soft cap', facts.softCap ? `${facts.softCap} (${origins.softCap})` : undefined],
    [
      'embedding scale',
      facts.embeddingScale === 1 ? undefined : `${facts.embeddingScale} (${origins.embeddingScale})`,
    ],
  ];
  const padded =
    padding > 0 ? `, the last ${count(padding)} of them padding (${origins.validVocabSize})` : '';
  return pairs([
    ...(facts.family === null ? [] : [['family', facts.family] as [string, string]]),
    ['vocabulary', `${count(facts.vocabSize)} tokens${padded}`],
    ['hidden size', count(facts.hiddenSize)],
    [
      'weights',
      `${facts.dtype}, ${bytesText(facts.bytes)}, ${facts.mapped ? 'mapped and used in place' : 'read into memory'}`,
    ],
    ...(facts.screen === null
      ? []
      : [['screening', `a bounded copy of ${bytesText(facts.screen)}, read first`] as [string, string]]),
    ['tied', `${tieText(facts)} (${origins.tied})`],
    ['parameters', count(facts.parameters)],
    ...optional.filter((entry): entry is [string, string] => entry[1] !== undefined),
    [
      'runs here',
      facts.backend === 'native' ? `native, ${facts.isa}, ${threads}` : 'in plain JavaScript, slowly',
    ],
  ]);
}

function tieText(facts: { tied: boolean; inputRows: number | null; vocabSize: number }): string {
  if (facts.tied) return 'yes: one matrix is input and output embedding';
  if (facts.inputRows === null) return 'no, and the input embedding is not known';
  const rows = facts.inputRows === facts.vocabSize ? '' : `, of ${count(facts.inputRows)} rows`;
  return `no: the input embedding is another matrix${rows}`;
}

function bytesOf(source: MatrixSource): number {
  if (source.kind === 'shared') throw new Error('weights that were just opened are not yet shared');
  if (source.kind === 'memory') return source.data.byteLength;
  // Of a group of weights there are a scale and a bias, of 16 bits each.
  const { length, dtype, groups } = source;
  return groups
    ? length + ((length / ROW_FORMATS[dtype].bytes) * ROW_FORMATS[dtype].elements * 4) / groups.size
    : length;
}
