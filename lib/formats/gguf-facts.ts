/** What the metadata of a GGUF file says about the head. */
import { LMHeadError } from '../errors';
import type { GgufArray, GgufValue } from './gguf';
import type { ModelFacts } from './model-facts';

type Metadata = Map<string, GgufValue>;

/** Architectures whose `logit_scale` divides, as llama.cpp's code for them does; in all others it multiplies. */
const DIVIDED = /^(?:granite|minicpm$)/;

/** Architectures whose final norm has no weight. */
const WEIGHTLESS = /^olmo$/;

/** Architectures whose final norm has an embedding's name in the file. */
const NORM_NAMES = new Map([
  ['lfm2', 'token_embd_norm'],
  ['lfm2moe', 'token_embd_norm'],
  ['t5', 'dec.output_norm'],
]);

/** Architectures whose logits are capped without a key too. */
const CAPPED = /^gemma(?:2|3n|4)$/;

/** What files are that have no model in them, by their type or architecture. */
const INSTEAD = new Map<GgufValue | undefined, string>([
  ['adapter', 'an adapter (LoRA), which is a sum to a model'],
  ['imatrix', 'an importance matrix, by which a model is quantized'],
  ['mmproj', "a projector (mmproj), which is a model's part for images or sound"],
  ['clip', "a projector (mmproj), which is a model's part for images or sound"],
  ['vocab', 'a vocabulary'],
]);

/** What the code of an architecture does without a key that says so. MiniCPM's converters used to write no scales. */
const DEFAULTS: readonly [architecture: RegExp, scales: (hiddenSize: number) => Partial<ModelFacts>][] = [
  [/^(?:gemma|afmoe$)/, size => ({ embeddingScale: Math.sqrt(size) })],
  [/^grok$/, () => ({ logitScale: 0.5773502691896257, embeddingScale: 78.38367176906169 })],
  [/^(?:command-r|cohere2)$/, () => ({ logitScale: 0.0625 })],
  [/^minicpm3?$/, size => ({ logitScale: 256 / size, embeddingScale: 12 })],
];

/**
 * Converters have brought the weights into the form of their arithmetic: where the norm of a family adds 1 to its weight, the
 * file's weight has it already.
 * @param file its name, for messages
 * @param width the hidden size, where it is known from elsewhere and the file has no key for it
 * @throws LMHeadError FORMAT for a value that cannot be
 */
export function ggufFacts(metadata: Metadata, file: string, width?: number): ModelFacts {
  const architecture = metadata.get('general.architecture');
  const facts: ModelFacts = { source: file, origins: { norm: 'file', vocabSize: 'file' } };
  const tokens = metadata.get('tokenizer.ggml.tokens') as GgufArray | undefined;
  if (tokens?.unpadded) facts.vocabSize = tokens.unpadded;
  facts.instead = INSTEAD.get(metadata.get('general.type') ?? metadata.get('general.architecture'));
  if (typeof architecture !== 'string') return facts;

  const number = (name: string): number | undefined => {
    const value = metadata.get(`${architecture}.${name}`);
    if (value === undefined || (typeof value === 'number' && Number.isFinite(value))) return value;
    throw malformed(`${architecture}.${name} is no number`);
  };
  const malformed = (what: string) =>
    new LMHeadError('FORMAT', `${file}: ${what}; want a well-formed .gguf file`);

  facts.family = { type: architecture, known: true };
  facts.hiddenSize = number('embedding_length');
  const rms = number('attention.layer_norm_rms_epsilon');
  const eps = rms ?? number('attention.layer_norm_epsilon');
  if (eps !== undefined) {
    if (eps < 0) throw malformed(`the epsilon of its norms is ${eps}`);
    facts.norm = { type: rms === undefined ? 'layernorm' : 'rmsnorm', eps, offset: 0 };
    if (WEIGHTLESS.test(architecture)) facts.norm.weightless = true;
  }
  facts.outputFactor = '.scale';
  const size = facts.hiddenSize ?? width;
  // llama.cpp leaves it out; the model's own code does not.
  if (architecture === 't5' && size) facts.tiedLogitScale = 1 / Math.sqrt(size);
  facts.normName = NORM_NAMES.get(architecture);
  const [, scales] = DEFAULTS.find(([pattern]) => pattern.test(architecture)) ?? [];
  if (scales && size) Object.assign(facts, scales(size));
  if (!size) facts.atWidth = columns => ggufFacts(metadata, file, columns);
  const logitScale = number('logit_scale');
  // 0 stands for none.
  if (logitScale) facts.logitScale = DIVIDED.test(architecture) ? 1 / logitScale : logitScale;
  const embeddingScale = number('embedding_scale');
  if (embeddingScale) facts.embeddingScale = embeddingScale;
  // Files older than the key have none, and llama.cpp caps all the same.
  const ownCap = number('final_logit_softcapping');
  const softCap = ownCap ?? (CAPPED.test(architecture) ? 30 : undefined);
  const by = (key: unknown) => (key ? 'file' : 'family');
  Object.assign(facts.origins!, {
    logitScale: by(logitScale),
    embeddingScale: by(embeddingScale),
    softCap: by(ownCap),
  });
  if (softCap !== undefined && softCap < 0) throw malformed(`its final_logit_softcapping is ${softCap}`);
  if (softCap) facts.softCap = softCap;
  return facts;
}
