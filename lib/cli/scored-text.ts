/** What `score --html` gathers for its page. */
import { basename } from 'node:path';
import { shownTokens } from '../pages/lens-page';
import { scorePage } from '../pages/score-page';
import type { TokenTexts } from '../tokens/token-texts';
import type { Score, TopK } from '../types';

export class ScoredText {
  readonly k: number;
  readonly #file: string;
  readonly #texts: TokenTexts | undefined;
  readonly #targets: number[] = [];
  readonly #logProbs: number[] = [];
  readonly #ranks: number[] = [];
  readonly #entropy: number[] = [];
  readonly #ids: number[] = [];
  readonly #topLogProbs: number[] = [];

  constructor(file: string, texts: TokenTexts | undefined, k: number) {
    this.#file = file;
    this.#texts = texts;
    this.k = k;
  }

  /** The next positions. */
  add(
    targets: BigInt64Array,
    { logProbs, ranks, entropy }: Score,
    { ids, logProbs: topLogProbs }: TopK,
  ): void {
    // One that counts in nothing need be no id.
    for (const target of targets) this.#targets.push(Math.max(0, Number(target)));
    this.#logProbs.push(...logProbs);
    this.#ranks.push(...ranks);
    if (entropy) this.#entropy.push(...entropy);
    this.#ids.push(...ids);
    this.#topLogProbs.push(...topLogProbs);
  }

  /** @param n the first positions */
  page(n: number, summary: string): string {
    const targets = Uint32Array.from(this.#targets.slice(0, n));
    const ids = Uint32Array.from(this.#ids.slice(0, n * this.k));
    const token = this.#texts && ((id: number) => this.#texts!.text(id));
    return scorePage({
      title: `Surprisal under ${basename(this.#file)}`,
      summary: summary.trim().replaceAll(/ {2,}/g, ' ').replaceAll('\n', '; '),
      ...{ targets, ids, k: this.k, ranks: Uint32Array.from(this.#ranks.slice(0, n)) },
      logProbs: Float32Array.from(this.#logProbs.slice(0, n)),
      topLogProbs: Float32Array.from(this.#topLogProbs.slice(0, n * this.k)),
      entropy: this.#entropy.length > 0 ? Float32Array.from(this.#entropy.slice(0, n)) : undefined,
      tokens: shownTokens([...targets, ...ids], token),
      breaks: [...new Set(targets)].filter(id => token?.(id)?.includes('\n')),
    });
  }
}
