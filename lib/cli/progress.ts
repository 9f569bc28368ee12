/** One line on a terminal's standard error: how far, how fast, how long still. Elsewhere nothing. */

import { count, secondsText } from './output';
import type { Streams, Terminal } from './streams';

const INTERVAL = 0.1;
const WIDTH = 24;

export class Progress {
  readonly #stream: Streams['stderr'] | undefined;
  readonly #total: number;
  readonly #unit: string;
  readonly #start = now();
  #drawn = Number.NEGATIVE_INFINITY;

  /** @param unit of what there are `total`, as in '12 positions/s' */
  constructor({ stderr }: Pick<Terminal, 'stderr'>, total: number, unit: string) {
    this.#stream = stderr.isTTY ? stderr : undefined;
    this.#total = total;
    this.#unit = unit;
  }

  /** So many are done. */
  update(done: number): void {
    const at = now();
    if (!this.#stream || at - this.#drawn < INTERVAL) return;
    this.#drawn = at;
    const filled = Math.round((WIDTH * done) / this.#total);
    const bar = '█'.repeat(filled) + '░'.repeat(WIDTH - filled);
    const rate = done / (at - this.#start);
    const left = done > 0 ? `, ${secondsText((this.#total - done) / rate)} left` : '';
    const speed =
      done > 0 ? `  ${rate >= 100 ? count(Math.round(rate)) : rate.toPrecision(3)} ${this.#unit}/s` : '';
    const line = `${bar} ${count(done)} of ${count(this.#total)}${speed}${left}`;
    // A line that is wrapped cannot be taken away; and some terminals wrap one that is as wide as they are.
    this.#stream.write(`\r\x1b[K${line.slice(0, Math.max(0, (this.#stream.columns || Infinity) - 1))}`);
  }

  /** Takes the line away. */
  end(): void {
    if (this.#stream && this.#drawn > Number.NEGATIVE_INFINITY) this.#stream.write('\r\x1b[K');
  }
}

function now(): number {
  return performance.now() / 1000;
}
