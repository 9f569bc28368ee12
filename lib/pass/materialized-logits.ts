/** Samplers and scores over logits that somebody else computes, row by row: a head's, without a head. */
import { hiddenRows } from '../arguments/hidden';
import { chooseBackend } from '../backend/choose';
import { floats } from '../dtypes/half';
import { LMHeadError } from '../errors';
import type { LMHead } from '../lm-head';
import { Sampler } from '../sampler';
import type {
  AsyncOptions,
  Hidden,
  Ids,
  NextAllOptions,
  SampledToken,
  SamplerOptions,
  Score,
  ScoreOptions,
} from '../types';
import { scoreGiven } from './given-logits';

/** Its hidden states are rows of logits. */
export class MaterializedLogits {
  readonly vocabSize: number;
  /** What samplers take the length of a row from. */
  readonly hiddenSize: number;
  readonly backend = chooseBackend();

  constructor(vocabSize: number) {
    this.vocabSize = vocabSize;
    this.hiddenSize = vocabSize;
  }

  sampler(options: SamplerOptions = {}): Sampler {
    for (const name of ['norm', 'rows', 'over'] as const) {
      if (options[name] === undefined || options[name] === false) continue;
      throw new LMHeadError(
        'RANGE',
        `${name}: got one for logits that the model has computed; want it with a head and hidden states`,
      );
    }
    // With code of the caller's or without: what stands between logits and a draw is the same.
    const { logits = () => undefined, ...rest } = options;
    return new Sampler(this as unknown as LMHead, this.vocabSize, { ...rest, logits });
  }

  logitsSync(logits: Hidden, options: { hiddenDtype?: 'f16' | 'bf16' } = {}): Float32Array {
    const { data, dtype } = hiddenRows(logits, this.vocabSize, options.hiddenDtype, 'logits', 'vocabSize');
    const rows = floats(data, dtype);
    return rows === data ? rows.slice() : rows; // the sampler's hook may change it
  }

  async logits(logits: Hidden, options?: { hiddenDtype?: 'f16' | 'bf16' }): Promise<Float32Array> {
    return this.logitsSync(logits, options);
  }

  /** As a head's. */
  async nextAll(
    samplers: readonly Sampler[],
    logits: Hidden,
    { each }: NextAllOptions & AsyncOptions = {},
  ): Promise<SampledToken[]> {
    const rows = this.logitsSync(logits);
    const next = (sampler: Sampler, i: number) =>
      sampler.nextSync(rows.subarray(i * this.vocabSize, (i + 1) * this.vocabSize), each?.[i]);
    if (samplers.length === 1) return samplers.map(next);
    // What fails at one leaves all as they were.
    const states = samplers.map(sampler => sampler.toJSON());
    try {
      return samplers.map(next);
    } catch (error) {
      samplers.forEach((sampler, i) => {
        sampler.restore(states[i]);
      });
      throw error;
    }
  }

  async score(logits: Hidden, targets: Ids, options?: ScoreOptions): Promise<Score> {
    return scoreGiven(logits, this.vocabSize, targets, options);
  }
}
