/** One call of `generate`, whose tokens are drawn by samplers. */
import { got } from '../arguments/describe';
import { LMHeadError } from '../errors';
import type { LMHead } from '../lm-head';
import { MaterializedLogits } from '../pass/materialized-logits';
import type { Sampler } from '../sampler';
import type { Hidden, SampledToken, SamplerOptions } from '../types';
import { forcedAt, samplingOf } from './generation-options';
import type {
  Arguments,
  GenerationConfig,
  Model,
  ModelOutputs,
  ModelTensor,
  Processor,
  RowIds,
} from './model';

/** Options of `useHead`: a sampler's, and this one. */
export interface UseHeadOptions
  extends Omit<SamplerOptions, 'history' | 'promptLength' | 'rows' | 'over' | 'hiddenDtype'> {
  /** Called with the tokens that were drawn, one of each row, before the next ones are. */
  onTokens?: ((tokens: readonly SampledToken[]) => void) | undefined;
}

const HIDDEN_NAMES = ['last_hidden_state', 'hidden_states'];

export class DrawnCall {
  readonly #model: Model;
  readonly #head: LMHead | undefined;
  readonly #options: SamplerOptions;
  readonly #onTokens: UseHeadOptions['onTokens'];
  /** How tokens are drawn is what the call says, before generate is told to take the only one that there is. */
  #asked: GenerationConfig | undefined;
  #config: GenerationConfig | undefined;
  #processors: Processor[] = [];
  #ids: RowIds = [];
  #drawing: LMHead | MaterializedLogits | undefined;
  #samplers: Sampler[] = [];
  #drawn: SampledToken[] = [];
  /** [row][i] */
  readonly sampled: SampledToken[][] = [];

  constructor(model: Model, head: LMHead | undefined, { onTokens, ...options }: UseHeadOptions) {
    this.#model = model;
    this.#head = head;
    this.#options = options;
    this.#onTokens = onTokens;
  }

  /** The model, with what this call needs in place of its own; calls at the same time don't see each other's. */
  receiver(args: Arguments): Model {
    const model = this.#model;
    const receiver: Model = Object.create(model as object);
    receiver._prepare_generation_config = (...given) => {
      const config = model._prepare_generation_config.apply(receiver, given);
      const { min_p } = { ...(args.generation_config as object | undefined), ...args } as GenerationConfig;
      this.#asked ??= { ...config, min_p };
      return Object.assign(config, { do_sample: false, num_beams: 1, num_return_sequences: 1 });
    };
    receiver._get_logits_processor = (config, _, own) => {
      this.#config = config;
      this.#processors = processorsOf(own);
      return () => oneOfEach(this.#drawn);
    };
    receiver.prepare_inputs_for_generation = (ids, ...rest) => {
      this.#ids = ids;
      return model.prepare_inputs_for_generation.call(receiver, ids, ...rest);
    };
    receiver.forward = async inputs => {
      const outputs = await model.forward.call(receiver, inputs);
      await this.#draw(outputs);
      return { ...outputs, logits: NO_LOGITS as unknown as ModelTensor };
    };
    return receiver;
  }

  async #draw(outputs: ModelOutputs): Promise<void> {
    const tensor = this.#rowsOf(outputs);
    let rows = lastOfEach(tensor);
    const [n, size] = rows.dims;
    if (n !== this.#ids.length) {
      throw new LMHeadError('SHAPE', `model: got ${n} rows for ${this.#ids.length} texts; want one of each`);
    }
    if (this.#processors.length > 0) rows = await this.#processed(rows, tensor);
    if (!this.#drawing) this.#begin(this.#head?.vocabSize ?? size);
    const each = this.#ids.map(ids => forcedAt(this.#config!, ids.length));
    this.#drawn = await this.#drawing!.nextAll(this.#samplers, rows as Hidden, { each });
    this.#drawn.forEach((token, row) => {
      this.sampled[row].push(token);
    });
    this.#onTokens?.(this.#drawn);
  }

  #begin(vocabSize: number): void {
    const longest = Math.max(...this.#ids.map(ids => ids.length));
    // A processor of the caller's wants all logits, and what it leaves is drawn from.
    const head = this.#processors.length > 0 ? undefined : this.#head;
    const config = { ...this.#config!, ...drawingOf(this.#asked!) };
    const options = samplingOf(config, this.#options, longest);
    this.#drawing = head ?? new MaterializedLogits(vocabSize);
    for (const [row, ids] of this.#ids.entries()) {
      const own = {
        ...options,
        history: ids.map(Number),
        promptLength: ids.length,
        // Rows of one seed are not each other's echo.
        stream: (Number(options.stream) || 0) + row,
      };
      const made = head
        ? (head.sampler as (options: SamplerOptions) => Sampler).call(head, own)
        : (this.#drawing as MaterializedLogits).sampler(own);
      this.#samplers.push(made);
      this.sampled.push([]);
    }
  }

  #rowsOf(outputs: ModelOutputs): ModelTensor {
    const name = this.#head ? HIDDEN_NAMES.find(each => outputs[each]) : 'logits';
    const tensor = name === undefined ? undefined : outputs[name];
    if (tensor) return tensor;
    const names = Object.keys(outputs).slice(0, 8).join(', ');
    throw new LMHeadError(
      'TENSOR',
      this.#head
        ? `model: got the outputs ${names}; want last_hidden_state, of a body, for a head`
        : `model: got the outputs ${names}; want logits, or a head for the hidden states of a body`,
    );
  }

  /** Logits after the caller's processors. */
  async #processed(rows: Rows, tensor: ModelTensor): Promise<Rows> {
    const all = this.#head
      ? await this.#head.logits(rows as Hidden, { norm: this.#options.norm })
      : new MaterializedLogits(rows.dims[1]).logitsSync(rows as Hidden);
    const dims: [number, number] = [rows.dims[0], all.length / rows.dims[0]];
    const Tensor = tensor.constructor as new (
      type: string,
      data: Float32Array,
      dims: number[],
    ) => ModelTensor;
    let logits = new Tensor('float32', all, dims);
    for (const processor of this.#processors) logits = processor(this.#ids, logits) ?? logits;
    return { data: logits.data, type: 'float32', dims };
  }
}

interface Rows {
  data: ModelTensor['data'];
  type: string;
  dims: readonly [number, number];
}

/** How the call wants its tokens drawn. */
function drawingOf({
  do_sample,
  num_beams,
  temperature,
  min_p,
}: GenerationConfig): Partial<GenerationConfig> {
  return { do_sample, num_beams, temperature, min_p };
}

/** generate asks the outputs for logits, and hands them to the processors, which are ours. */
const NO_LOGITS = { slice: () => NO_LOGITS, to: () => NO_LOGITS };

/** What a greedy choice finds the drawn tokens in. */
function oneOfEach(tokens: readonly SampledToken[]): object {
  const rows = tokens.map(({ id }) => {
    const data = new Float32Array(id + 1);
    data[id] = 1;
    return { data, dims: [data.length] };
  });
  return Object.assign(rows, { dims: [rows.length] });
}

/** [rows, T, size]: the last of each row. */
function lastOfEach({ data, type, dims }: ModelTensor): Rows {
  const [n, length] = dims.length === 3 ? dims : [dims[0], 1];
  const size = dims.at(-1)!;
  if (length === 1) return { data, type, dims: [n, size] };
  const list = data as unknown as Float32Array & { constructor: new (length: number) => Float32Array };
  const last = new list.constructor(n * size);
  for (let row = 0; row < n; row++) {
    const end = (row + 1) * length * size;
    last.set(list.subarray(end - size, end), row * size);
  }
  return { data: last, type, dims: [n, size] };
}

/** One, an array of them, or a list with the property `processors`. */
function processorsOf(own: unknown): Processor[] {
  if (own === undefined || own === null) return [];
  const all = [(own as { processors?: unknown }).processors ?? own].flat();
  for (const each of all) {
    if (typeof each !== 'function') {
      throw new LMHeadError('ARGUMENT', `logits_processor: got ${got(each)}; want a function`);
    }
  }
  return all as Processor[];
}
