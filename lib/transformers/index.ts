/**
 * Tokens of `@huggingface/transformers`' models, drawn by this library.
 * @module lmhead/transformers
 */
import { got } from '../arguments/describe';
import { type NamesOf, only, readOptions, SAMPLER, without } from '../arguments/option-names';
import { LMHeadError } from '../errors';
import { LMHead } from '../lm-head';
import { MaterializedLogits } from '../pass/materialized-logits';
import type { SampledToken } from '../types';
import { DrawnCall, type UseHeadOptions } from './drawn-call';
import { type Arguments, METHODS, type Model } from './model';

export type { UseHeadOptions } from './drawn-call';

const NAMES: NamesOf<UseHeadOptions> = {
  ...without(SAMPLER, 'history', 'promptLength', 'rows', 'over', 'hiddenDtype'),
  onTokens: true,
};
const OPTIONS = only('useHead', NAMES, ['history', 'rows']);

/** `generate` as it was, of models that have another one now. */
const originals = new WeakMap<object, Model['generate']>();

/**
 * Lets a model of @huggingface/transformers 4 draw its tokens by this library: `model.generate`, and pipelines over the model, then take
 * the same arguments as before, `top_p` and `min_p` among them, and have the samplers and log-probabilities of a head.
 *
 * With `return_dict_in_generate: true`, what `generate` gives has `sampled` beside `sequences`: for each row, the tokens as samplers give them.
 * Called again, it takes the place of what it did before.
 * @param model as `AutoModelForCausalLM.from_pretrained` gives it; or a pipeline's `model`
 * @param head of a model that is a body (`model_file_name: 'body'`), whose output is hidden states; undefined: the model's own logits
 *   are drawn from
 * @param options as of `head.sampler`, for all calls. They go before those of a call: where one of them says how to draw, `do_sample` is
 *   not needed. Rows of a batch have streams of their own
 * @throws LMHeadError ARGUMENT, RANGE; from `generate` also TENSOR for a model without such an output, and as `nextAll`
 */
export function useHead(model: object, head: LMHead | undefined, options: UseHeadOptions = {}): void {
  const methods = model as Partial<Model>;
  const isObject = (typeof model === 'object' && model !== null) || typeof model === 'function';
  if (!isObject || METHODS.some(name => typeof methods[name] !== 'function')) {
    throw new LMHeadError(
      'ARGUMENT',
      `model: got ${got(model)}; want a model of @huggingface/transformers 4 that generates`,
    );
  }
  if (head !== undefined && !(head instanceof LMHead)) {
    throw new LMHeadError('ARGUMENT', `head: got ${got(head)}; want an LMHead, or undefined`);
  }
  const own = readOptions(options, OPTIONS);
  const { onTokens, ...sampling } = own;
  if (onTokens !== undefined && typeof onTokens !== 'function') {
    throw new LMHeadError('ARGUMENT', `onTokens: got ${got(onTokens)}; want a function`);
  }
  // What is wrong with them is told here, and not at the first token.
  if (head) (head.sampler as (options: object) => unknown).call(head, sampling);
  else if (sampling.allowedMask === undefined) new MaterializedLogits(MOST_IDS).sampler(sampling);
  const original = originals.get(model) ?? (model as Model).generate;
  originals.set(model, original);
  (model as Model).generate = async (args: Arguments) => {
    const call = new DrawnCall(model as Model, head, own);
    const result = await original.call(call.receiver(args), args);
    const isDictionary = typeof result === 'object' && result !== null && 'sequences' in result;
    return isDictionary
      ? Object.assign(result, { sampled: call.sampled satisfies SampledToken[][] })
      : result;
  };
}

/** A bound for ids where the vocabulary is not known yet. */
const MOST_IDS = 2 ** 31 - 1;
