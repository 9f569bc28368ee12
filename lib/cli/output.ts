/** Numbers and tables for people. */
import { columns } from '../tokens/visible';

/**
 * Rows in columns: words to the left, numbers to the right. The first rows decide which, and how wide the columns are; where later
 * ones have more to say, columns become wider from there on.
 */
export class Table {
  readonly #titles: readonly string[];
  #widths: number[];
  #isNumber: boolean[] | undefined;

  constructor(titles: readonly string[]) {
    this.#titles = titles;
    this.#widths = titles.map(title => title.length);
  }

  /** The lines of some rows, the first time below the titles. */
  lines(rows: readonly string[][]): string {
    const widest = (width: number, i: number) =>
      rows.reduce((most, row) => Math.max(most, columns(row[i])), width);
    this.#widths = this.#widths.map(widest);
    const lines: string[] = [];
    if (!this.#isNumber) {
      this.#isNumber = this.#titles.map((_, i) => rows.every(row => /^[-−\d∞–]|^NaN|^$/.test(row[i])));
      lines.push(this.#line(this.#titles), this.#widths.map(width => '─'.repeat(width)).join('  '));
    }
    for (const row of rows) lines.push(this.#line(row));
    return lines.map(line => `${line}\n`).join('');
  }

  #line(row: readonly string[]): string {
    return row
      .map((cell, i) => {
        const padding = ' '.repeat(this.#widths[i] - columns(cell));
        return this.#isNumber![i] ? padding + cell : cell + padding;
      })
      .join('  ')
      .trimEnd();
  }
}

/** Names and what they have. */
export function pairs(entries: [name: string, value: string][]): string {
  const width = Math.max(...entries.map(([name]) => name.length));
  return entries.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join('');
}

export function bytesText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  let size = bytes;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${unit === 0 ? size : size.toPrecision(3)} ${units[unit]}`;
}

export function secondsText(seconds: number): string {
  if (seconds < 1e-3) return `${(seconds * 1e6).toPrecision(3)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toPrecision(3)} ms`;
  if (seconds < 100) return `${seconds.toPrecision(3)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** An integer with its thousands apart. */
export function count(n: number): string {
  return n.toLocaleString('en-US');
}

/** What a terminal acts on, or what turns a line around; JSON has escapes for it. */
const ACTIVE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** JSON has no word for these three. */
export function jsonLine(value: object): string {
  const text = JSON.stringify(value, (_, v) =>
    typeof v === 'number' && !Number.isFinite(v) ? String(v) : v,
  );
  return `${text.replace(ACTIVE, escaped)}\n`;
}

function escaped(character: string): string {
  return character
    .split('')
    .map(unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('');
}
