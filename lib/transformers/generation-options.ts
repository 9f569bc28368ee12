/** Options of `generate`, as they are documented there, in this library's words. */
import { LMHeadError } from '../errors';
import type { NextOptions, SamplerOptions } from '../types';
import type { GenerationConfig } from './model';

/** Of a caller's options, those that ask for a draw; without any of them, `do_sample` decides. */
const DRAWING = [
  'temperature',
  'topK',
  'topP',
  'minP',
  'typicalP',
  'epsilonCutoff',
  'etaCutoff',
  'topNSigma',
  'pLess',
  'xtcProbability',
  'temperatureRange',
  'maxSurprisal',
  'mirostat',
] as const satisfies readonly (keyof SamplerOptions)[];

/**
 * @param config of the call
 * @param own the caller's options for all calls, which go first
 * @param promptLength tokens of the longest row before the first that is drawn
 */
export function samplingOf(
  config: GenerationConfig,
  own: SamplerOptions,
  promptLength: number,
): SamplerOptions {
  if (config.num_beams > 1) {
    throw new LMHeadError('RANGE', `num_beams: got ${config.num_beams}; want 1, as tokens are drawn`);
  }
  if ((config.guidance_scale ?? 0) > 1) {
    throw new LMHeadError('RANGE', `guidance_scale: got ${config.guidance_scale}; want none`);
  }
  const options: SamplerOptions = {};
  /** What is null, or has no effect, is left out. */
  const setOption = <K extends keyof SamplerOptions>(
    name: K,
    value: SamplerOptions[K] | null | undefined,
    none?: unknown,
  ) => {
    if (value !== null && value !== undefined && value !== none) options[name] = value;
  };
  setOption('repetitionPenalty', config.repetition_penalty, 1);
  setOption('noRepeatNgramSize', config.no_repeat_ngram_size, 0);
  const eos = [config.eos_token_id ?? []].flat();
  const words = config.bad_words_ids?.filter(ids => !(ids.length === 1 && eos.includes(ids[0])));
  if (words && words.length > 0) options.bannedSequences = words;
  setOption('bannedIds', config.suppress_tokens);
  setOption('beginSuppressIds', config.begin_suppress_tokens);
  const least = Math.max(config.min_new_tokens ?? 0, (config.min_length ?? 0) - promptLength);
  if (least > 0 && eos.length > 0) Object.assign(options, { minLength: least, eosIds: eos });
  if (config.do_sample && config.temperature !== 0) {
    setOption('temperature', config.temperature, 1);
    setOption('topK', config.top_k, 0);
    setOption('topP', config.top_p, 1);
    setOption('minP', config.min_p, 0);
    setOption('typicalP', config.typical_p, 1);
    setOption('epsilonCutoff', config.epsilon_cutoff, 0);
    setOption('etaCutoff', config.eta_cutoff, 0);
  } else if (!DRAWING.some(name => own[name] !== undefined)) {
    options.temperature = 0;
  }
  return { ...options, ...own };
}

/** Tokens that have to come at their place: the first, and the last before the longest length. */
export function forcedAt(config: GenerationConfig, length: number): NextOptions | undefined {
  const { forced_bos_token_id: bos, forced_eos_token_id: eos, max_length: most } = config;
  if (bos !== null && length === 1) return { allowedIds: [bos] };
  if (eos !== null && most !== null && length === most - 1) return { allowedIds: [eos] };
  return undefined;
}
