/** The summary of all results, in the order of the plan: the same bytes whoever did what, and however often. */
import { join } from 'node:path';
import { readJson, readPlan, readShards, resultFile, setAsideFile, writeWhole } from './files.mjs';

const QUANTILES = [0.05, 0.25, 0.5, 0.75, 0.95];

/** @param {{ out: string }} options */
export async function report({ out }) {
  const { model, shards } = await readPlan(out);
  const all = { tokens: 0, nllSum: 0 };
  const documents = new Doubles();
  const setAside = [];
  let missing = 0;
  for await (const { name } of readShards(out)) {
    const result = await readJson(resultFile(out, name));
    if (!result) {
      const aside = await readJson(setAsideFile(out, name));
      if (aside) setAside.push(aside);
      else missing++;
      continue;
    }
    all.tokens += result.tokens;
    all.nllSum += result.nllSum;
    for (const [tokens, nllSum] of result.documents) if (tokens > 0) documents.push(nllSum / tokens);
  }
  const sorted = documents.values.sort();
  const at = q => (sorted.length === 0 ? null : Math.exp(sorted[Math.round(q * (sorted.length - 1))]));
  const summary = {
    model,
    shards,
    missing,
    tokens: all.tokens,
    nllSum: all.nllSum,
    perplexity: all.tokens === 0 ? null : Math.exp(all.nllSum / all.tokens),
    documents: sorted.length,
    quantiles: Object.fromEntries(QUANTILES.map(q => [`p${100 * q}`, at(q)])),
    setAside,
  };
  const text = `${JSON.stringify(summary, null, 2)}\n`;
  await writeWhole(join(out, 'report.json'), text);
  process.stdout.write(text);
}

/** Any number of them, eight bytes each. */
class Doubles {
  #room = new Float64Array(1024);
  #length = 0;

  push(x) {
    if (this.#length === this.#room.length) {
      const larger = new Float64Array(2 * this.#length);
      larger.set(this.#room);
      this.#room = larger;
    }
    this.#room[this.#length++] = x;
  }

  get values() {
    return this.#room.subarray(0, this.#length);
  }
}
