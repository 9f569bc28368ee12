/**
 * How architectures name the parts of a head. A tensor's name is a path: modules that hold the text model, then the module of
 * the part, then what of it the tensor is: 'language_model.model.' + 'embed_tokens' + '.weight'.
 */

export type PartKind = 'output' | 'embedding' | 'norm';

/** A part's module, as a tensor's name tells of it. */
export interface NamedPart {
  kind: PartKind;
  /** The module's whole name. */
  module: string;
  /** Behind the module's name: 'weight', 'bias', 'qweight'…; '' for the module's name alone. */
  leaf: string;
  /** What precedes the part's own name: 'language_model.model.' */
  prefix: string;
  /** The lower, the better known is the name. */
  rank: number;
}

/** Modules that hold the text model, or all of it. */
const HOLDERS = new Set([
  ...[
    'model',
    'transformer',
    'language_model',
    'text_model',
    'text_decoder',
    'language',
    'llm',
    'lm',
    'thinker',
  ],
  ...[
    'decoder',
    'backbone',
    'gpt_neox',
    'rwkv',
    'biogpt',
    'bert',
    'roberta',
    'distilbert',
    'electra',
    'albert',
    'mpnet',
  ],
  ...['deberta', 'ernie', 'module', '_orig_mod', 'base_model', 'state_dict'],
]);

/** Most specific first. */
const NAMES: Record<PartKind, readonly string[]> = {
  output: [
    'lm_head',
    'embed_out',
    'word_embeddings_for_head',
    'lm_head.linear',
    'lm_head.out_proj',
    'lm_head.decoder',
    'cls.predictions.decoder',
    'predictions.decoder',
    'generator_lm_head',
    'vocab_projector',
    'output_layer',
    'output_projection',
    'proj_out',
    'ff_out',
    'head.decoder',
    'output',
    'head',
    'decoder',
  ],
  embedding: [
    'embed_tokens',
    'embed_in',
    'wte',
    'embd.wte',
    'wte.embedding',
    'tok_embeddings',
    'embeddings.tok_embeddings',
    'token_embd',
    'token_embeddings',
    'in_out_embed',
    'word_embeddings',
    'embeddings.word_embeddings',
    'embedding.word_embeddings',
    'embeddings',
    'embedding',
    'emb',
    'transformer.w',
    'shared',
  ],
  norm: [
    'norm',
    'ln_f',
    'final_layernorm',
    'final_layer_norm',
    'encoder.final_layernorm',
    'norm_f',
    'rms_norm',
    'ln_out',
    'final_norm',
    'embedding_norm',
    'dec.output_norm',
    'output_norm',
    'out_norm',
    'lm_head.ln',
    'layer_norm',
    'layernorm',
    'token_embd_norm',
  ],
};
/** Of them, those that stand for nothing else in whatever model. */
const UNMISTAKABLE: Record<PartKind, ReadonlySet<string>> = {
  output: new Set(['lm_head', 'embed_out']),
  embedding: new Set(['embed_tokens', 'embed_in', 'wte', 'tok_embeddings', 'word_embeddings']),
  norm: new Set(['norm', 'ln_f', 'final_layernorm', 'final_layer_norm', 'norm_f']),
};
/** Modules whose bias is that of the logits, beside those of outputs. */
const BIAS_MODULES = ['cls.predictions', 'predictions'];

/** What a leaf of several modules may begin with: adapters, and tensors that are parts of a weight. */
const PART_OF_WEIGHT =
  /^(?:weight|base_layer|lora_\w+|original_module|modules_to_save|parametrizations|(?:res_)?centroids)\./;
/** Parts of an output whose names are joined to it. */
const JOINED = /(^|\.)(lm_head|embed_out)_(blocks|scales)$/;

/** Longer ones, and those of more modules, are no architecture's. */
const LONGEST_NAME = 300;
const MOST_MODULES = 20;

const ranks = new Map<string, { kind: PartKind; rank: number }>();
for (const kind of Object.keys(NAMES) as PartKind[]) {
  for (const [rank, name] of NAMES[kind].entries()) ranks.set(name, { kind, rank });
}

/** What of a head a tensor of that name is. */
export function namedPart(given: string): NamedPart | undefined {
  if (isTooLong(given)) return undefined;
  const name = given.replace(JOINED, '$1$2.$3');
  let found: NamedPart | undefined;
  for (const start of starts(name)) {
    const part = partFrom(name, start);
    // 'decoder' holds the model in decoder.norm.weight, and is the output in decoder.weight.
    if (part && (!found || dots(part.leaf) < dots(found.leaf))) found = part;
  }
  return found;
}

const dots = (text: string) => text.split('.').length;

/** Names of the tensors that can be part of a head, of all that there are: others need not be there to be read. */
export function headTensorNames(names: Iterable<string>): Set<string> {
  const found = new Set<string>();
  const elsewhere: [name: string, kind: PartKind][] = [];
  const named = new Set<PartKind>();
  for (const name of names) {
    const part = namedPart(name);
    if (part || isLogitBias(name)) found.add(name);
    if (part) named.add(part.kind);
    else {
      const other = partAnywhere(name);
      if (other) elsewhere.push([name, other.kind]);
    }
  }
  const all = !named.has('output') && !named.has('embedding');
  for (const [name, kind] of elsewhere) if (all || !named.has(kind)) found.add(name);
  return found;
}

/** Of such names, those without which there are no logits: the output's, or where there is none the embedding's. */
export function requiredNames(names: ReadonlySet<string>, wanted: string | undefined): Set<string> {
  if (wanted !== undefined) return new Set([wanted]);
  const required: Record<PartKind, Set<string>> = {
    output: new Set(),
    embedding: new Set(),
    norm: new Set(),
  };
  for (const name of names) {
    const part = namedPart(name) ?? partAnywhere(name);
    if (part && part.leaf !== 'bias') required[part.kind].add(name);
  }
  return required.output.size > 0 ? required.output : required.embedding;
}

/** As `namedPart`, behind holders of any name, where the part's own name can stand for nothing else. */
export function partAnywhere(name: string): NamedPart | undefined {
  if (isTooLong(name) || /(?:^|\.)\d+\./.test(name)) return undefined;
  for (let at = 0; at >= 0; at = name.indexOf('.', at) + 1 || -1) {
    const part = partFrom(name, at);
    if (part && isUnmistakable(part)) return part;
  }
  return undefined;
}

/** Is a tensor of that name of an output, in whatever form? */
export function isOutput(name: string): boolean {
  const part = namedPart(name) ?? partAnywhere(name);
  return part?.kind === 'output' && part.leaf !== 'bias';
}

/** Can a module of that name stand for nothing else, in whatever model? */
export function isUnmistakable({ kind, module, prefix }: Omit<NamedPart, 'leaf' | 'rank'>): boolean {
  return UNMISTAKABLE[kind].has(module.slice(prefix.length));
}

/** Is a tensor of that name the bias of the logits, in a family whose output has another's weight? */
export function isLogitBias(name: string): boolean {
  if (isTooLong(name)) return false;
  for (const start of starts(name)) {
    const rest = name.slice(start);
    if (rest === 'final_logits_bias' || BIAS_MODULES.some(module => rest === `${module}.bias`)) return true;
  }
  return false;
}

function isTooLong(name: string): boolean {
  return name.length > LONGEST_NAME || dots(name) > MOST_MODULES;
}

/** Where in a name the part's own may begin: behind no holder, behind one, behind two… */
function starts(name: string): number[] {
  const at = [0];
  for (;;) {
    const last = at[at.length - 1];
    const dot = name.indexOf('.', last);
    if (dot < 0 || !HOLDERS.has(name.slice(last, dot))) return at;
    at.push(dot + 1);
  }
}

/** The part whose own name begins at `start`: the longest name that it can be. */
function partFrom(name: string, start: number): NamedPart | undefined {
  for (let end = name.length; end > start; end = name.lastIndexOf('.', end - 1)) {
    const own = name.slice(start, end);
    const known = ranks.get(own);
    if (!known) continue;
    const leaf = name.slice(end + 1);
    // The decoder of decoder.layers.0.norm.weight is no output.
    if (leaf.includes('.') && !PART_OF_WEIGHT.test(leaf) && !UNMISTAKABLE[known.kind].has(own))
      return undefined;
    return { ...known, module: name.slice(0, end), leaf, prefix: name.slice(0, start) };
  }
  return undefined;
}
