/** What a model's own description says about its head, whichever file says it; absent: it does not say. */
import type { CapOrder, NormOptions } from '../types';

export interface ModelFacts {
  /** Who says so, for messages: 'config.json'. */
  source: string;
  /** Does the output matrix serve as the input embedding? */
  tied?: boolean;
  /** Ids from here on are padding. */
  vocabSize?: number;
  hiddenSize?: number;
  /** The final norm, without its vectors. */
  norm?: Omit<NormOptions, 'weight' | 'bias'>;
  logitScale?: number;
  softCap?: number;
  capOrder?: CapOrder;
  embeddingScale?: number;
  /** What of this MLX's converter has already brought into the weights. */
  inMlx?: 'offset' | 'scales';
}
