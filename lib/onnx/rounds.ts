/**
 * Who may compute: the model's runs one after another, and after those that wait, one pass of the head that draws a token for every
 * text that has its hidden state. So texts that are continued at the same time share the reading of the head's weights, and each has
 * the tokens that it has alone.
 */
import { reasonOf } from '../arguments/values';
import { untilAbort } from '../backend/on-abort';
import { LMHeadError } from '../errors';
import type { Sampler } from '../sampler';
import type { AsyncOptions, Hidden, NextAllOptions, NextOptions, SampledToken } from '../types';
import { type Rows, stacked } from './body';

/** What draws tokens from rows: a head from hidden states, or logits by themselves. */
export interface Drawing {
  nextAll(
    samplers: readonly Sampler[],
    hidden: Hidden,
    options?: NextAllOptions & AsyncOptions,
  ): Promise<SampledToken[]>;
}

interface Draw {
  sampler: Sampler;
  rows: Rows;
  each: NextOptions | undefined;
  resolve: (token: SampledToken) => void;
  reject: (error: unknown) => void;
  gone: boolean;
}

interface Run {
  /** Of many tokens at once: texts that wait for one go first. */
  long: boolean;
  start: () => Promise<void>;
}

export class Rounds {
  readonly #drawing: Drawing;
  readonly #runs: Run[] = [];
  #draws: Draw[] = [];
  #going = false;
  readonly #idle: (() => void)[] = [];
  /** So far; what failed together and was done again apart counts twice. */
  passes = 0;
  draws = 0;

  constructor(drawing: Drawing) {
    this.#drawing = drawing;
  }

  /** Resolves when nothing waits any more. */
  async settled(): Promise<void> {
    if (this.#going) await new Promise<void>(resolve => this.#idle.push(resolve));
  }

  async run<T>(job: () => Promise<T>, long: boolean, signal?: AbortSignal): Promise<T> {
    let gone = false;
    const start = () =>
      new Promise<T>((resolve, reject) => {
        const run = {
          long,
          start: () => (gone ? Promise.resolve() : job().then(resolve, reject)),
        };
        this.#runs.push(run);
        this.#go();
      });
    if (!signal) return start();
    requireLive(signal);
    return untilAbort(signal, start, () => {
      gone = true;
    });
  }

  async draw(
    sampler: Sampler,
    rows: Rows,
    each: NextOptions | undefined,
    signal?: AbortSignal,
  ): Promise<SampledToken> {
    let mine: Draw | undefined;
    const start = () =>
      new Promise<SampledToken>((resolve, reject) => {
        mine = { sampler, rows, each, resolve, reject, gone: false };
        this.#draws.push(mine);
        this.#go();
      });
    if (!signal) return start();
    requireLive(signal);
    return untilAbort(signal, start, () => {
      mine!.gone = true;
    });
  }

  #go(): void {
    if (this.#going) return;
    this.#going = true;
    void this.#rounds();
  }

  async #rounds(): Promise<void> {
    for (;;) {
      // Whoever got a token just now may want the next one.
      await new Promise(resolve => setImmediate(resolve));
      const [next] = this.#runs;
      if (next && !(next.long && this.#draws.length > 0)) {
        this.#runs.shift();
        await next.start();
      } else if (this.#draws.length > 0) {
        const draws = this.#draws.filter(({ gone }) => !gone);
        this.#draws = [];
        if (draws.length > 0) await this.#drawAll(draws);
      } else {
        this.#going = false; // at once, as whoever comes from here on begins anew
        for (const tell of this.#idle.splice(0)) tell();
        return;
      }
    }
  }

  async #drawAll(draws: Draw[]): Promise<void> {
    this.passes++;
    this.draws += draws.length;
    try {
      const tokens = await this.#drawing.nextAll(
        draws.map(({ sampler }) => sampler),
        stacked(draws.map(({ rows }) => rows)) as Hidden,
        { each: draws.map(({ each }) => each) },
      );
      draws.forEach(({ resolve }, i) => {
        resolve(tokens[i]);
      });
    } catch (error) {
      const [only] = draws;
      if (draws.length === 1) {
        only.reject(error instanceof LMHeadError ? ofOneAlone(error) : error);
        return;
      }
      // An error leaves all samplers as they were: of one text, it is not the others'.
      for (const draw of draws) await this.#drawAll([draw]);
    }
  }
}

/** Between two of its calls it may have fired. */
function requireLive(signal: AbortSignal): void {
  if (signal.aborted) throw new LMHeadError('ABORTED', 'the call was aborted', { cause: reasonOf(signal) });
}

/** Without the place in a list that the caller did not make. */
function ofOneAlone(error: LMHeadError): LMHeadError {
  const message = error.message.replace(/^(?:samplers|each)\[0\]\.?/, '');
  if (message === error.message) return error;
  const kind = error.code.slice('ERR_LMHEAD_'.length) as ConstructorParameters<typeof LMHeadError>[0];
  return new LMHeadError(kind, message.replace(/^: /, ''), { cause: error });
}
