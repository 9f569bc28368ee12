/** Which name was meant. */

/** The name most like one that is none; all of them where none is like it. */
export function nearestName(given: string, names: Iterable<string>): string {
  const all = [...names];
  const plain = plainName(given);
  let best = '';
  let least = Math.max(2, Math.floor(plain.length / 3)) + 1;
  for (const name of all) {
    const steps = editDistance(plain, plainName(name));
    if (steps < least && steps < plain.length) {
      least = steps;
      best = name;
    }
  }
  return best || `one of ${all.join(', ')}`;
}

/** Names differ by case and underscores in other libraries; longer ones than any here need no closer look. */
function plainName(name: string): string {
  return name
    .slice(0, 40)
    .replace(/[^A-Za-z0-9]/g, '')
    .toLowerCase();
}

/** Letters to put in, leave out or change. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + Number(a[i - 1] !== b[j - 1]));
    }
    row = next;
  }
  return row[b.length];
}
