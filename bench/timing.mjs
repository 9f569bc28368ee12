// Times several functions in turn, so that what disturbs the machine disturbs all of them.

/** @param {number[]} values */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

/**
 * Runs each function once per round, and waits for it.
 * @param {Record<string, () => unknown>} functions
 * @param {number} rounds
 * @returns {Promise<Record<string, number[]>>} seconds of each function in each round
 */
export async function interleaved(functions, rounds) {
  const entries = Object.entries(functions);
  const times = Object.fromEntries(entries.map(([name]) => [name, []]));
  for (const [, run] of entries) await run(); // compiled, and in the caches that it stays in
  for (let round = 0; round < rounds; round++) {
    for (const [name, run] of entries) {
      const start = process.hrtime.bigint();
      await run();
      times[name].push(Number(process.hrtime.bigint() - start) / 1e9);
    }
  }
  return times;
}

/**
 * How many times as long `a` took as `b`: the median over the rounds, of which each saw the same disturbance.
 * @param {number[]} a
 * @param {number[]} b
 */
export function ratio(a, b) {
  return median(a.map((seconds, round) => seconds / b[round]));
}

/**
 * Seconds per call of a function that takes microseconds: the best of batches of 1 ms or so.
 * @param {() => unknown} run
 */
export function secondsPerCall(run) {
  const calls = 200;
  for (let i = 0; i < 5000; i++) run(); // until it is compiled
  return Math.min(
    ...Array.from({ length: 51 }, () => {
      const start = process.hrtime.bigint();
      for (let i = 0; i < calls; i++) run();
      return Number(process.hrtime.bigint() - start) / 1e9 / calls;
    }),
  );
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 1e-4) return `${(seconds * 1e6).toFixed(1)} µs`;
  return seconds < 1 ? `${(seconds * 1e3).toFixed(seconds < 0.1 ? 2 : 0)} ms` : `${seconds.toFixed(2)} s`;
}

/**
 * Prints rows in columns: the first to the left, the others to the right.
 * @param {string[]} head
 * @param {string[][]} rows
 */
export function table(head, rows) {
  const widths = head.map((_, i) => Math.max(...[head, ...rows].map(row => row[i].length)));
  const line = row =>
    row.map((cell, i) => (i ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join('   ');
  console.log(line(head));
  console.log(widths.map(width => '─'.repeat(width)).join('───'));
  for (const row of rows) console.log(line(row));
}

/**
 * Prints rows as a table of Markdown, as documents have them.
 * @param {string[]} head
 * @param {string[][]} rows
 */
export function markdown(head, rows) {
  const line = cells => console.log(`| ${cells.join(' | ')} |`);
  line(head);
  console.log(`|${head.map((_, i) => (i ? '---:' : '---')).join('|')}|`);
  for (const row of rows) line(row);
}
