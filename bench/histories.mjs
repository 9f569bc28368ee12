/**
 * What a long history costs beside the pass that draws the token; part of `npm run bench`, and alone:
 *
 *   node bench/histories.mjs [ROUNDS]
 *
 * The head is small, so that the history is what is timed: a pass over a real one takes ten times as long.
 */
import { pathToFileURL } from 'node:url';
import { capabilities, LMHead } from '../dist/index.mjs';
import { randomHidden, randomWeights } from './random-head.mjs';
import { duration, interleaved, median, table } from './timing.mjs';

const V = 50257;
const D = 64;
const ROWS = 64;
const DRAFT = 8;
const LENGTHS = [100, 10_000, 100_000];

/** Few tokens are most of a text. */
const textOf = length =>
  Uint32Array.from({ length }, (_, i) => Math.floor(V ** (((i * 2654435761) % 2 ** 32) / 2 ** 32)) % V);
const BREAKERS = Array.from({ length: 1000 }, (_, i) => (i % 3 ? [i, i + 1, i + 2] : 20_000 + i));
const PENALTIES = { repetitionPenalty: 1.1, frequencyPenalty: 0.1, presencePenalty: 0.1 };
const METHODS = {
  penalties: PENALTIES,
  'no 3-gram twice': { noRepeatNgramSize: 3 },
  DRY: { dryMultiplier: 0.8 },
  'DRY, 1000 breakers': { dryMultiplier: 0.8, dryBreakers: BREAKERS },
  'all of them': { ...PENALTIES, noRepeatNgramSize: 3, dryMultiplier: 0.8, dryBreakers: BREAKERS },
};

/** @param {number} rounds */
export async function histories(rounds) {
  const head = LMHead.from(randomWeights(V, D), { vocabSize: V, hiddenSize: D, backend: 'native' });
  const one = randomHidden(1, D);
  const many = randomHidden(ROWS, D);
  const draft = textOf(DRAFT);
  const hidden = randomHidden(DRAFT + 1, D);
  const each = new Array(ROWS).fill(1.1);
  const rows = [];
  for (const [name, options] of Object.entries(METHODS)) {
    for (const length of LENGTHS) {
      const history = textOf(length);
      const sampler = head.sampler({ ...options, history, seed: 1 });
      for (let i = 0; i < 40; i++) sampler.nextSync(one); // until it goes from token to token
      const times = await interleaved(
        {
          next: () => sampler.nextSync(one),
          sample: () => head.sampleSync(one, { ...options, history, seed: 1 }),
          rows: () => head.sampleSync(many, { ...options, history, repetitionPenalty: each, seed: 1 }),
          draft: () => head.verifyDraftSync(hidden, draft, { ...options, history, seed: 1 }),
        },
        rounds,
      );
      const of = method => duration(median(times[method]));
      rows.push([name, length.toLocaleString('en'), of('next'), of('sample'), of('rows'), of('draft')]);
    }
  }
  const plain = await interleaved(
    {
      one: () => head.sampleSync(one, { seed: 1 }),
      rows: () => head.sampleSync(many, { seed: 1 }),
      draft: () => head.verifyDraftSync(hidden, draft, { seed: 1 }),
    },
    rounds,
  );
  const [alone, ofRows, ofDraft] = ['one', 'rows', 'draft'].map(name => duration(median(plain[name])));
  rows.unshift(['nothing', '', alone, alone, ofRows, ofDraft]);
  head.close();

  console.log(`\nA long history: ${V} × ${D} f32, ${head.threads} threads; medians of ${rounds}.\n`);
  table(
    ['', 'tokens', "a sampler's next", 'sample', `${ROWS} rows, a number each`, `a draft of ${DRAFT}`],
    rows,
  );
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { isa, threads, version } = capabilities();
  console.log(`lmhead ${version}, ${isa}, ${threads} threads; Node ${process.version}`);
  await histories(Number(process.argv[2] ?? 11));
}
