import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type CutReport, cutHead } from '../onnx/cut-head';
import type { Command } from './command';
import { TargetFile } from './npy-rows';
import { exclusive, type Parsed, UsageError } from './options';
import { count, jsonLine, pairs } from './output';
import { type CutVerification, verifyCut } from './verify-cut';

const POSITIONS = 16;

export const cut: Command = {
  name: 'cut',
  summary: 'Write an ONNX decoder without its head',
  file: 'required',
  options: ['output', 'force', 'verify', 'positions', 'inputs'],
  own: {
    output: { value: 'BODY.onnx', short: 'o', help: 'the file to write (default: body.onnx beside FILE)' },
    positions: {
      value: 'N',
      help: `how many tokens --verify takes at random (default ${POSITIONS})`,
      number: { least: 2, most: 2 ** 16, whole: true },
    },
    inputs: { value: 'I.npy', help: 'the tokens that --verify takes, an array [n] of integers' },
  },
  examples: [
    ['lmhead cut model.onnx -o body.onnx', 'the head is then model.onnx as it is: LMHead.open takes that'],
    ['lmhead cut model.onnx --verify', 'runs both in onnxruntime-node, and compares the logits'],
  ],
  async run(parsed, { out }) {
    exclusive('cut', parsed, 'inputs', ['positions']);
    for (const name of ['positions', 'inputs'] as const) {
      if (!parsed.flag('verify') && (parsed.text(name) ?? parsed.number(name)) !== undefined) {
        throw new UsageError(`cut: got --${name} without --verify; want both`);
      }
    }
    const output = parsed.text('output') ?? join(dirname(parsed.file!), 'body.onnx');
    if (existsSync(output) && !parsed.flag('force')) {
      throw new UsageError(`cut: ${output} exists; want another name, or --force`);
    }
    const report = await cutHead(parsed.file!, { output, overwrite: parsed.flag('force') });
    const verified = parsed.flag('verify')
      ? await verifyCut(parsed.file!, report, await tokens(parsed, report.vocabSize))
      : undefined;
    await out.write(
      parsed.flag('json')
        ? jsonLine({ file: parsed.file, ...report, ...(verified && { verified }) })
        : forPeople(report, verified),
    );
    return verified?.ok ?? true;
  },
};

async function tokens(parsed: Parsed, vocabSize: number): Promise<Uint32Array> {
  const path = parsed.text('inputs');
  if (path === undefined) {
    const n = parsed.number('positions') ?? POSITIONS;
    // Each once and again further on, in an order that looks like none.
    return Uint32Array.from({ length: n }, (_, i) => (i * 7919 + 11) % vocabSize);
  }
  const file = await TargetFile.open(path, undefined, 'inputs');
  try {
    const ids = await file.read(0, file.count);
    const wrong = ids.findIndex(id => id < 0 || id >= vocabSize);
    if (ids.length < 2 || wrong >= 0) {
      const got = ids.length < 2 ? `${ids.length} tokens` : `the token ${ids[wrong]} at ${wrong}`;
      throw new UsageError(`cut: got ${got} in ${path}; want two or more below ${vocabSize}`);
    }
    return Uint32Array.from(ids, Number);
  } finally {
    await file.close();
  }
}

function forPeople(report: CutReport, verified: CutVerification | undefined): string {
  const { weight, hidden, maxWeightError, logitScale, softCap } = report;
  return pairs([
    ['written', report.bodyPath],
    ['pattern', report.pattern],
    ['output', `${hidden.name}, ${hidden.dtype}, in place of ${report.logits}`],
    [
      'head',
      `${count(report.vocabSize)} tokens of ${count(report.hiddenSize)}, ${weight.tensor} in ${weight.file}`,
    ],
    [
      'weights',
      report.dtype + (maxWeightError > 0 ? `, within ${maxWeightError.toExponential(2)}` : ', exactly'),
    ],
    ['tied', report.tied ? 'yes: one matrix is input and output embedding' : 'no'],
    ...(report.bias ? [['bias', 'yes'] as [string, string]] : []),
    ...(logitScale === 1 ? [] : [['logit scale', String(logitScale)] as [string, string]]),
    ...(softCap === null ? [] : [['soft cap', String(softCap)] as [string, string]]),
    ...(report.externalData.length > 0
      ? [['beside it', report.externalData.join(', ')] as [string, string]]
      : []),
    ...report.notes.map((note): [string, string] => ['note', note]),
    ...(verified ? verdict(verified) : []),
  ]);
}

function verdict({ ok, positions, relative, bound, sameBest }: CutVerification): [string, string][] {
  const within = bound === undefined ? '' : `, ${ok ? 'within' : 'NOT within'} ${bound}`;
  return [
    ['logits', `${relative.toExponential(2)} of the largest apart${within}`],
    ['best tokens', `the same in ${sameBest} of ${positions} positions`],
  ];
}
