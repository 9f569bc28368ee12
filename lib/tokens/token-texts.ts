/** The texts of a vocabulary's tokens, by id. A byte that is of no UTF-8 is a lone surrogate in them (see textOfBytes). */
export class TokenTexts {
  /** The file that says them. */
  readonly source: string;
  readonly #count: number;
  readonly #textOf: (id: number) => string | undefined;

  /**
   * @param count one more than the largest id
   * @param textOf undefined for an id that has no token
   */
  constructor(source: string, count: number, textOf: (id: number) => string | undefined) {
    this.source = source;
    this.#count = count;
    this.#textOf = textOf;
  }

  text(id: number): string | undefined {
    return this.#textOf(id);
  }

  /** The lowest id with that text. */
  idOf(text: string): number | undefined {
    for (let id = 0; id < this.#count; id++) if (this.#textOf(id) === text) return id;
    return undefined;
  }
}
