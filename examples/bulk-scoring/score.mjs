/** What a shard's scoring gives: numbers that depend on the shard and the model alone. */
import { openHidden, readIds } from './npy.mjs';

/** Numbers of hidden states that are read at a time, about. */
const NUMBERS = 2 ** 21;
/** A target that counts in nothing, as PyTorch has it. */
const IGNORED = -100;

/**
 * @param {import('../../dist/index.js').LMHead} head
 * @returns {Promise<{ name: string, tokens: number, nllSum: number, documents: [tokens: number, nllSum: number][] }>}
 */
export async function scoreShard(head, { name, hidden, targets, lengths }) {
  const ids = await readIds(targets);
  const states = await openHidden(hidden);
  try {
    const { n, d, hiddenDtype } = states;
    if (ids.length !== n)
      throw new Error(`${targets} has ${ids.length} targets; want ${n}, one per hidden state`);
    const ends = lengths ? endsOf(await readIds(lengths), n, lengths) : [n];
    const documents = ends.map(() => [0, 0]);
    const most = Math.max(1, Math.floor(NUMBERS / d));
    let document = 0;
    for (let first = 0; first < n; first += most) {
      const count = Math.min(most, n - first);
      const block = ids.slice(first, first + count);
      const { logProbs } = await head.score(await states.rows(first, count), block, {
        ignoreIndex: IGNORED,
        hiddenDtype,
      });
      // Term by term: where blocks end is nothing that a sum may depend on.
      for (let i = 0; i < count; i++) {
        while (first + i >= ends[document]) document++;
        if (block[i] === IGNORED) continue;
        documents[document][0]++;
        documents[document][1] -= logProbs[i];
      }
    }
    const sum = at => documents.reduce((total, each) => total + each[at], 0);
    return { name, tokens: sum(0), nllSum: sum(1), documents };
  } finally {
    await states.close();
  }
}

function endsOf(lengths, n, path) {
  let end = 0;
  const ends = lengths.map(length => {
    end += length;
    return end;
  });
  if (end === n && lengths.every(length => length >= 0)) return ends;
  throw new Error(`${path} adds up to ${end}; want ${n}, the hidden states`);
}
