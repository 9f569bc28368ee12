/** Calls of every public function that are right: arguments and options, which a case then spoils. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as lmhead from '../../../dist/index.mjs';
import { below, changing, D, numbers, pick, V } from './chance.mjs';
import { head, norm, sampler } from './heads.mjs';

const { LMHead } = lmhead;

const states = () => {
  const n = 1 + below(3);
  const kind = below(8);
  if (kind === 0) return { data: numbers(n * D), type: 'float32', dims: [n, D] };
  if (kind === 1) return new Float32Array(changing, 4 * below(8), n * D);
  return numbers(n * D);
};
const ids = length =>
  pick([
    () => Array.from({ length }, () => below(60)),
    () => Uint32Array.from({ length }, () => below(60)),
    () => BigInt64Array.from({ length }, () => BigInt(below(60))),
    () => new Uint32Array(changing, 0, length),
    () => ({ type: 'int64', data: new BigInt64Array(length), dims: [length] }),
  ])();
const CALL = {
  temperature: () => pick([1, 0.5, [1]]),
  norm: () => true,
  rows: () => pick([[1, 5, 9], Uint32Array.of(9, 1)]),
  over: () => 'rows',
  hiddenDtype: () => undefined,
  guidance: () => ({ hidden: numbers(pick([1, 2]) * D), scale: pick([1.5, [2]]) }),
};
const TELL = { withLogProbs: () => pick([true, false]) };
const SAMPLE = {
  ...CALL,
  topK: () => 5,
  topP: () => 0.9,
  minP: () => 0.1,
  typicalP: () => 0.9,
  epsilonCutoff: () => 1e-3,
  etaCutoff: () => 1e-3,
  topNSigma: () => 2,
  pLess: () => true,
  xtcProbability: () => 0.5,
  xtcThreshold: () => 0.1,
  xtcProtectedIds: () => ids(3),
  temperatureRange: () => 0.2,
  temperatureExponent: () => 1,
  maxSurprisal: () => 9,
  minKeep: () => 2,
  stageOrder: () => ['temperature', 'topK', 'topP', 'minP'],
  logitBias: () => pick([{ 3: 1 }, new Map([[2, -Infinity]])]),
  bannedIds: () => ids(3),
  allowedIds: () => pick([[1, 2, 3, 9, 5], Uint32Array.of(1, 60)]),
  allowedMask: () => new (pick([Uint32Array, Int32Array]))(Math.ceil(V / 32)).fill(7),
  seed: () => pick([1, 5n, [1]]),
  step: () => 1,
  stream: () => 1,
  topLogProbs: () => 3,
  history: () => ids(12),
  promptLength: () => 1,
  penaltyWindow: () => 8,
  repetitionPenalty: () => 1.1,
  frequencyPenalty: () => 0.1,
  presencePenalty: () => 0.1,
  dryMultiplier: () => 0.8,
  dryBase: () => 1.7,
  dryAllowedLength: () => 1,
  dryWindow: () => 9,
  dryBreakers: () => [3, [4, 5]],
  noRepeatNgramSize: () => 3,
  minLength: () => 2,
  eosIds: () => ids(2),
  beginSuppressIds: () => ids(2),
  bannedSequences: () => [ids(2), [4, 5]],
  biasedSequences: () => [{ ids: ids(2), bias: 2 }],
  length: () => 3,
};
const WIDE = { ...CALL, out: () => new Float32Array(3 * V) };
const SCORE = { ...CALL, ignoreIndex: () => -100, entropy: () => true };
const RUN = {
  ...TELL,
  ...SAMPLE,
  ...SCORE,
  logits: () => true,
  logProbs: () => true,
  argmax: () => true,
  top: () => 3,
  sample: () => true,
  targets: () => ids(2),
};
const ASYNC = { signal: () => new AbortController().signal };
const HELD = { ...SAMPLE };
const FROM = {
  vocabSize: () => V,
  hiddenSize: () => D,
  dtype: () => undefined,
  layout: () => pick(['vd', 'dv']),
  bias: () => numbers(V),
  logitScale: () => 2,
  softCap: () => 30,
  capOrder: () => 'scale-then-cap',
  validVocabSize: () => 66,
  embeddingScale: () => 2,
  norm,
  inputEmbedding: () => numbers(V * D),
  activations: () => 'f32',
  backend: () => pick(['native', 'reference']),
  threads: () => 2,
  copy: () => true,
  performanceMarks: () => false,
  screen: () => pick([true, false]),
};
const SAMPLER = {
  ...TELL,
  ...SAMPLE,
  mirostat: () => ({ tau: 3, eta: 0.1 }),
  logits: () => u => void u.fill(1, 0, 3),
};
const NEXT = {
  bannedIds: SAMPLE.bannedIds,
  logitBias: SAMPLE.logitBias,
  allowedIds: SAMPLE.allowedIds,
  rows: CALL.rows,
  guidance: () => ({ hidden: numbers(D), scale: 1.5 }),
};

/** Options: some of those that there are, with good values. */
function some(makers, chance = 6) {
  const options = {};
  for (const [name, make] of Object.entries(makers)) if (below(chance) === 0) options[name] = make();
  // What has no effect alone is refused, and that early: most cases should get further.
  if ('over' in options) options.rows ??= [1, 2];
  if ('stageOrder' in options)
    for (const name of ['topNSigma', 'typicalP', 'epsilonCutoff', 'etaCutoff', 'pLess']) delete options[name];
  if ('allowedIds' in options) delete options.allowedMask;
  if ('minLength' in options) options.eosIds ??= [1];
  if (Object.keys(options).some(name => /Penalty|dry|Window|noRepeat|Sequences|prompt/.test(name)))
    options.history ??= [1, 2, 1];
  return options;
}
export const folder = mkdtempSync(join(tmpdir(), 'lmhead-hostile-'));
// What is saved under an odd name stays there.
process.chdir(folder);

/** Each: what it is called on, its good arguments, and what options there are. */
export const TARGETS = {};
function target(name, on, makeArguments, options = {}) {
  TARGETS[name] = { on, makeArguments, options };
}
const onHead = () => head;
const onClass = () => LMHead;
const onModule = () => lmhead;
for (const [name, makeRest, options] of [
  ['logits', () => [], WIDE],
  ['logProbs', () => [], WIDE],
  ['probs', () => [], WIDE],
  ['topK', () => [3], { ...CALL, ...TELL }],
  ['argmax', () => [], CALL],
  ['sample', () => [], { ...SAMPLE, ...TELL }],
  ['candidates', () => [], { ...SAMPLE, ...TELL }],
  ['score', h => [ids(rowsIn(h))], SCORE],
  [
    'lens',
    () => [2],
    { ...CALL, ...TELL, translators: () => pick([[null], [undefined, null], [{ weight: numbers(D * D) }]]) },
  ],
  ['run', () => [], RUN],
]) {
  for (const form of ['Sync', '']) {
    const all = form ? options : { ...options, ...ASYNC };
    target(
      name + form,
      onHead,
      () => {
        const hidden = states();
        return [hidden, ...makeRest(hidden), some(all)];
      },
      all,
    );
  }
}
const NEAREST = { rows: CALL.rows, metric: () => pick(['dot', 'cosine']) };
for (const form of ['Sync', '']) {
  const draftLogProbs = () => new Float32Array(2 * V).fill(-4);
  const draft = { ...SAMPLE, draftLogProbs, ...(form ? {} : ASYNC) };
  target(
    `verifyDraft${form}`,
    onHead,
    () => {
      const hidden = numbers(3 * D);
      return [hidden, ids(2), some(draft)];
    },
    draft,
  );
  target(`nearest${form}`, onHead, () => [pick([3, numbers(D)]), 3, some(NEAREST)], NEAREST);
  target(`next${form}`, sampler, () => [numbers(D), some(NEXT, 3)], NEXT);
  const signal = form ? {} : ASYNC;
  target(`verify${form}`, sampler, () => [numbers(3 * D), ids(2), some(signal)], {
    draftLogProbs,
    ...signal,
  });
  const each = { each: () => [some(NEXT, 3), undefined] };
  target(
    `nextAll${form}`,
    onHead,
    () => [[sampler(), sampler()], numbers(2 * D), some({ ...each, ...signal })],
    { ...each, ...signal },
  );
  const beam = { ...SAMPLE, count: () => 4, ...signal };
  target(
    `beam${form}`,
    onHead,
    () => [numbers(2 * D), pick([[-1, -2], new Float64Array(2)]), some(beam)],
    beam,
  );
  target(
    `verifyDrafts${form}`,
    onHead,
    () => [
      [
        { hidden: numbers(3 * D), draftIds: ids(2), options: some({ ...SAMPLE, draftLogProbs }) },
        { hidden: numbers(D), draftIds: ids(1), sampler: sampler() },
      ],
      ...(form ? [] : [some(ASYNC)]),
    ],
    signal,
  );
}
target('embed', onHead, () => [ids(3), pick([undefined, new Float32Array(3 * D)])]);
target('verify', onHead, () => [numbers(D)]);
target('quantize', onHead, () => [pick(['i8', 'q8_0']), { hidden: numbers(D) }], {
  hidden: states,
  activations: () => 'i8',
});
target('save', onHead, () => [join(folder, 'head.safetensors')]);
target('saveSync', onHead, () => [join(folder, 'head.safetensors')]);
target('sampler', onHead, () => [some(SAMPLER)], SAMPLER);
target('accept', sampler, () => [3]);
target('restore', sampler, () => [JSON.parse(JSON.stringify(sampler()))]);
target('from', onClass, () => [numbers(V * D), { vocabSize: V, hiddenSize: D, ...some(FROM) }], FROM);
target('attach', onClass, () => [structuredClone(head.handle)]);
target('openSync', onClass, () => [join(folder, 'head.safetensors'), some(FROM)], {
  ...FROM,
  mmap: () => true,
  tensor: () => 'x',
});
target('open', onClass, () => [join(folder, 'head.safetensors'), some(FROM)], {
  ...FROM,
  mmap: () => true,
  tensor: () => 'x',
});
const held = () => pick([() => numbers(2 * V), () => new Float32Array(changing, 0, 2 * V)])();
target('softmax', onModule, () => [held(), V, some(WIDE)], { temperature: CALL.temperature, out: WIDE.out });
target('logSoftmax', onModule, () => [held(), V, some(WIDE)], {
  temperature: CALL.temperature,
  out: WIDE.out,
});
target('topKOf', onModule, () => [held(), V, 3]);
target('sampleFrom', onModule, () => [held(), V, some(HELD)], HELD);
target('candidatesOf', onModule, () => [held(), V, some(HELD)], HELD);
target('rowsOf', onModule, () => [head.topKSync(numbers(D), 3)]);
export const NAMES = Object.keys(TARGETS);

function rowsIn(hidden) {
  return ArrayBuffer.isView(hidden) ? hidden.length / D : hidden.dims[0];
}
