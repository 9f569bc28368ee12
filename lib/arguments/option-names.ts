/** The names of options: which ones each method takes, and which need another beside them. */
import { LMHeadError } from '../errors';
import type {
  AsyncOptions,
  BeamOptions,
  CallOptions,
  Draft,
  HeadOptions,
  LensOptions,
  LogProbsOption,
  NearestOptions,
  NextAllOptions,
  NextOptions,
  NormOptions,
  OpenOptions,
  QuantizeOptions,
  RunRequest,
  SampleOptions,
  SamplerOptions,
  ScoreOptions,
  ShardOptions,
  Translator,
  VerifyDraftOptions,
} from '../types';
import { got } from './describe';
import { nearestName } from './nearest-name';
import { reading } from './reading';
import { optionsObject } from './values';

/** What a method takes. */
export interface OptionNames {
  /** For messages. */
  method: string;
  /** Every name, with the options without which it has no effect. */
  names: ReadonlyMap<string, readonly string[]>;
}

/** A method's two forms: only the one that returns a promise takes a signal. */
interface BothForms {
  sync: OptionNames;
  async: OptionNames;
}

/** Every name of an interface: the compiler asks for those that are missing. */
export type NamesOf<T> = { readonly [K in keyof T]-?: true };

const ASYNC: NamesOf<AsyncOptions> = { signal: true };
const CALL: NamesOf<CallOptions> = {
  hiddenDtype: true,
  norm: true,
  guidance: true,
  temperature: true,
  rows: true,
  over: true,
};
const LOG_PROBS: NamesOf<LogProbsOption> = { withLogProbs: true };
/** What is about drawing a token, and nothing else. */
const DRAWING: NamesOf<Omit<SampleOptions, keyof CallOptions>> = {
  history: true,
  promptLength: true,
  penaltyWindow: true,
  repetitionPenalty: true,
  frequencyPenalty: true,
  presencePenalty: true,
  dryMultiplier: true,
  dryBase: true,
  dryAllowedLength: true,
  dryWindow: true,
  dryBreakers: true,
  noRepeatNgramSize: true,
  minLength: true,
  eosIds: true,
  beginSuppressIds: true,
  bannedSequences: true,
  biasedSequences: true,
  length: true,
  topK: true,
  topP: true,
  minP: true,
  typicalP: true,
  epsilonCutoff: true,
  etaCutoff: true,
  topNSigma: true,
  pLess: true,
  xtcProbability: true,
  xtcThreshold: true,
  xtcProtectedIds: true,
  temperatureRange: true,
  temperatureExponent: true,
  maxSurprisal: true,
  minKeep: true,
  stageOrder: true,
  logitBias: true,
  bannedIds: true,
  allowedIds: true,
  allowedMask: true,
  seed: true,
  stream: true,
  step: true,
  topLogProbs: true,
};
const SAMPLE: NamesOf<SampleOptions> = { ...CALL, ...DRAWING };
export const SAMPLER: NamesOf<SamplerOptions> = {
  ...without(SAMPLE, 'step', 'length', 'guidance'),
  logits: true,
  mirostat: true,
};
const SCORE: NamesOf<ScoreOptions> = { ...CALL, ignoreIndex: true, entropy: true };
const RUN: NamesOf<RunRequest> = {
  ...SAMPLE,
  ...SCORE,
  logits: true,
  logProbs: true,
  argmax: true,
  top: true,
  sample: true,
  targets: true,
};
const HEAD: NamesOf<HeadOptions> = {
  vocabSize: true,
  hiddenSize: true,
  dtype: true,
  layout: true,
  bias: true,
  logitScale: true,
  softCap: true,
  capOrder: true,
  validVocabSize: true,
  embeddingScale: true,
  norm: true,
  inputEmbedding: true,
  activations: true,
  backend: true,
  threads: true,
  copy: true,
  performanceMarks: true,
  coalesce: true,
  screen: true,
};
const OPEN: NamesOf<Omit<OpenOptions, 'signal' | 'onProgress'>> = {
  ...without(HEAD, 'vocabSize', 'hiddenSize', 'dtype', 'copy'),
  tensor: true,
  mmap: true,
  shard: true,
};
const SHARD: NamesOf<ShardOptions> = { index: true, count: true };
const NORM: NamesOf<NormOptions> = { type: true, weight: true, bias: true, eps: true, offset: true };
const NEXT: NamesOf<NextOptions> = {
  allowedIds: true,
  allowedMask: true,
  bannedIds: true,
  logitBias: true,
  rows: true,
  over: true,
  guidance: true,
};
const NEXT_ALL: NamesOf<NextAllOptions> = { each: true };
const DRAFT: NamesOf<Draft> = {
  hidden: true,
  draftIds: true,
  options: true,
  sampler: true,
};
const NEAREST: NamesOf<NearestOptions> = { hiddenDtype: true, rows: true, metric: true };
const LENS: NamesOf<LensOptions> = { ...without(CALL, 'norm', 'guidance'), translators: true };
const TRANSLATOR: NamesOf<Translator> = { weight: true, bias: true, residual: true };
const VERIFY_DRAFT: NamesOf<VerifyDraftOptions> = {
  ...without(SAMPLE, 'over', 'topLogProbs'),
  draftLogProbs: true,
};
const BEAM: NamesOf<BeamOptions> = {
  ...without(SAMPLE, 'over', 'topLogProbs', 'seed', 'step', 'stream'),
  count: true,
};
const QUANTIZE: NamesOf<QuantizeOptions> = {
  hidden: true,
  hiddenDtype: true,
  activations: true,
  screen: true,
};
/** Logits that are given have all the rows that they will have, and the norm behind them. */
const HELD = without(SAMPLE, 'norm', 'guidance', 'rows', 'over');

/** Options that say how another is meant; what is about drawing needs a sample, besides. */
const NEEDED: Record<string, string> = {
  over: 'rows',
  promptLength: 'history',
  penaltyWindow: 'history',
  repetitionPenalty: 'history',
  frequencyPenalty: 'history',
  presencePenalty: 'history',
  dryMultiplier: 'history',
  dryBase: 'history',
  dryAllowedLength: 'history',
  dryWindow: 'history',
  dryBreakers: 'history',
  noRepeatNgramSize: 'history',
  bannedSequences: 'history',
  biasedSequences: 'history',
  minLength: 'eosIds',
  ignoreIndex: 'targets',
  entropy: 'targets',
};

export const FROM_OPTIONS = only('LMHead.from', HEAD);
export const OPEN_OPTIONS = {
  sync: only('LMHead.openSync', OPEN),
  async: only('LMHead.open', { ...OPEN, ...ASYNC, onProgress: true }),
};
export const NORM_OPTIONS = only('norm', NORM);
export const SHARD_OPTIONS = only('shard', SHARD);
export const MERGE_TOP_K_OPTIONS = only('mergeTopK', { offsets: true });
export const RUN_OPTIONS = bothForms('run', { ...RUN, ...LOG_PROBS });
export const DENSE_OPTIONS = {
  logits: bothForms('logits', { ...CALL, out: true }),
  logProbs: bothForms('logProbs', { ...CALL, out: true }),
  probs: bothForms('probs', { ...CALL, out: true }),
};
export const TOP_K_OPTIONS = bothForms('topK', { ...CALL, ...LOG_PROBS });
export const ARGMAX_OPTIONS = bothForms('argmax', CALL);
export const SAMPLE_OPTIONS = bothForms('sample', { ...SAMPLE, ...LOG_PROBS });
export const CANDIDATES_OPTIONS = bothForms('candidates', { ...SAMPLE, ...LOG_PROBS });
export const SCORE_OPTIONS = bothForms('score', SCORE);
export const LENS_OPTIONS = bothForms('lens', { ...LENS, ...LOG_PROBS });
export const TRANSLATOR_OPTIONS = only('translators', TRANSLATOR);
export const NEAREST_OPTIONS = bothForms('nearest', NEAREST);
export const VERIFY_DRAFT_OPTIONS = bothForms('verifyDraft', VERIFY_DRAFT);
export const BEAM_OPTIONS = bothForms('beam', BEAM);
export const SAMPLER_OPTIONS = only('sampler', { ...SAMPLER, ...LOG_PROBS }, ['history', 'rows']);
export const MIROSTAT_OPTIONS = only('mirostat', { tau: true, eta: true });
export const NEXT_OPTIONS = bothForms('next', NEXT, ['rows']);
export const NEXT_ALL_OPTIONS = bothForms('nextAll', NEXT_ALL);
export const VERIFY_DRAFTS_OPTIONS = only('verifyDrafts', ASYNC);
export const DRAFT_OPTIONS = only('verifyDrafts', DRAFT);
export const VERIFY_OPTIONS = bothForms('verify', { draftLogProbs: true });
export const QUANTIZE_OPTIONS = only('quantize', { ...QUANTIZE, ...ASYNC });
export const LOG_SOFTMAX_OPTIONS = only('logSoftmax', { hiddenDtype: true, temperature: true, out: true });
export const SOFTMAX_OPTIONS = only('softmax', { hiddenDtype: true, temperature: true, out: true });
export const TOP_K_OF_OPTIONS = only('topKOf', { hiddenDtype: true });
export const SAMPLE_FROM_OPTIONS = only('sampleFrom', HELD);
export const CUT_HEAD_OPTIONS = only('cutHead', { output: true, overwrite: true });
export const CANDIDATES_OF_OPTIONS = only('candidatesOf', HELD);

export function without<T extends object, K extends keyof T>(names: T, ...left: K[]): Omit<T, K> {
  const rest = { ...names };
  for (const name of left) delete rest[name];
  return rest;
}

/** @param later what the method has of its own, or gets in a later call */
export function only(method: string, names: object, later: string[] = []): OptionNames {
  const needed = (name: string) =>
    [name in DRAWING ? 'sample' : '', NEEDED[name] ?? ''].filter(
      other => other in names && !later.includes(other),
    );
  return { method, names: new Map(Object.keys(names).map(name => [name, needed(name)])) };
}

function bothForms(method: string, names: object, later: string[] = []): BothForms {
  return {
    sync: only(`${method}Sync`, names, later),
    async: only(method, { ...names, ...ASYNC }, later),
  };
}

/**
 * Reads an object of options, each once, as what is read twice may change meanwhile. All have to be known, and to have an effect;
 * one that is undefined is as one left out.
 * @returns a plain object with the options that are there
 */
export function readOptions<T extends object>(value: T, { method, names }: OptionNames, name = 'options'): T {
  optionsObject(value, name);
  const options: Record<string, unknown> = {};
  const given = value as typeof options;
  const unknown = reading(name, () => {
    for (const key of names.keys()) {
      const option = given[key];
      if (option !== undefined) options[key] = option;
    }
    const isNone = (key: string) => !names.has(key) && given[key] !== undefined;
    return (
      Object.keys(given).find(isNone) ??
      inheritedNames(given).find(key => isNone(key) && typeof given[key] !== 'function')
    );
  });
  if (unknown !== undefined) {
    throw new LMHeadError(
      'ARGUMENT',
      `${unknown.slice(0, LONGEST_NAME)}: got an option that ${method} does not take; want ${meant(unknown, names)}`,
    );
  }
  for (const key of Object.keys(options)) {
    for (const other of names.get(key)!) {
      if (isLeftOut(options[other]) && !isLeftOut(options[key])) {
        const wanted = other === 'sample' ? 'sample: true' : other;
        throw new LMHeadError(
          'RANGE',
          `${key}: got ${got(options[key])} without ${other}; want ${wanted} too`,
        );
      }
    }
  }
  return options as T;
}

/** A proxy's prototypes may go on for ever. */
const MOST_PROTOTYPES = 100;

/** Properties that a class or a prototype of the caller's gives to an object; methods are among them. */
function inheritedNames(object: object): string[] {
  const names: string[] = [];
  let prototype: object | null = Object.getPrototypeOf(object);
  for (let i = 0; i < MOST_PROTOTYPES && prototype && !isRoot(prototype); i++) {
    names.push(...Object.getOwnPropertyNames(prototype));
    prototype = Object.getPrototypeOf(prototype);
  }
  return names;
}

/** Object.prototype, of whatever realm. */
function isRoot(prototype: object): boolean {
  return prototype === Object.prototype || Object.hasOwn(prototype, 'isPrototypeOf');
}

/** As `readOptions`, where they may be left out altogether. */
export function optionsIfAny<T extends object>(value: T | undefined, names: OptionNames): T | undefined {
  return value === undefined ? undefined : readOptions(value, names);
}

/** As many letters of a name as messages show. */
const LONGEST_NAME = 60;

function isLeftOut(option: unknown): boolean {
  return option === undefined || option === false;
}

/** Names that were options once, with what took their place; `wanted` where that is more than a name. */
const REPLACED: Record<string, { by: string[]; wanted?: string }> = {
  allowed: { by: ['allowedIds'], wanted: 'allowedIds for ids, or allowedMask for a mask of bits' },
  endIds: { by: ['eosIds'] },
  epsilon: { by: ['epsilonCutoff'] },
  eta: { by: ['etaCutoff'] },
  maxSurprise: { by: ['maxSurprisal'] },
  measure: { by: ['performanceMarks', 'metric'] },
  noRepeatNgram: { by: ['noRepeatNgramSize'] },
  order: { by: ['stageOrder'] },
};

/** The name most like one that is none; all of them where none is like it. */
function meant(given: string, names: OptionNames['names']): string {
  if (Object.hasOwn(REPLACED, given)) {
    const { by, wanted } = REPLACED[given];
    const own = by.find(name => names.has(name));
    if (own !== undefined) return wanted ?? own;
  }
  return nearestName(given, names.keys());
}
