/** What a model's own description says about its head, whichever file says it; absent: it does not say. */
import type { CapOrder, NormOptions } from '../types';

/** Who says a thing: the description, the file of the weights, or only the code of the model's family. */
export type Origin = 'config' | 'family' | 'file';

export interface ModelFacts {
  /** Who says so, for messages: 'config.json'. */
  source: string;
  /** The model's type, and whether what its code does is known. */
  family?: { type: string; known: boolean };
  /** Does the output matrix serve as the input embedding? */
  tied?: boolean;
  /** Ids from here on are padding. */
  vocabSize?: number;
  hiddenSize?: number;
  /** The final norm, without its vectors. */
  norm?: Omit<NormOptions, 'weight' | 'bias'> & { weightless?: true };
  /** Its module's name in the file, where it is no usual one. */
  normName?: string;
  /** Of a family that is not known: what the norm beside the head has for eps, if it is one or the other. */
  likelyNorm?: { rmsnorm?: NormEps; layernorm?: NormEps };
  logitScale?: number;
  /** The same, where the output is the embedding. */
  tiedLogitScale?: number;
  /** What is added to the output's name for that of a number that all of it is to be multiplied with. */
  outputFactor?: string;
  softCap?: number;
  capOrder?: CapOrder;
  embeddingScale?: number;
  /** Each row of the output is divided by its length. */
  unitRows?: boolean;
  /** What of this MLX's converter has already brought into the weights. */
  inMlx?: 'offset' | 'scales' | 'unitRows';
  /** The same, where the scales depend on the hidden size and the description does not say it. */
  atWidth?: (hiddenSize: number) => ModelFacts;
  /** What a file is instead of a model, for messages. */
  instead?: string;
  /** How matrices are quantized. */
  quantization?: QuantizationFacts;
  /** Of things that are said: by whom. */
  origins?: Partial<Origins>;
}

export type Origins = Record<
  'tied' | 'norm' | 'logitScale' | 'softCap' | 'embeddingScale' | 'vocabSize',
  Origin
>;

/** What a description says of quantized matrices; absent: it does not say. */
export interface QuantizationFacts {
  bits?: number;
  groupSize?: number;
  /** MLX's. */
  mode?: string;
  /** GPTQ's, of a checkpoint. */
  format?: string;
  /** Rows and columns that share a scale. */
  block?: readonly [number, number];
  /** Of modules that are quantized in a way of their own. */
  modules?: ReadonlyMap<string, Pick<QuantizationFacts, 'bits' | 'groupSize' | 'mode'>>;
}

export interface NormEps {
  /** The description's key. */
  key: string;
  eps: number;
}
