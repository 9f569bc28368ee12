/**
 * Random calls of heads that screen beside the same calls of heads that do not, over matrices of many kinds: every result has the same
 * bits, every error the same words. Prints counts, in JSON; what is wrong goes to stderr, and the program then ends with 1.
 * Arguments: seed, calls. The instruction set is LMHEAD_ISA's.
 */
import { isDeepStrictEqual } from 'node:util';
import { capabilities, LMHead } from '../../dist/index.mjs';
import { random } from '../stress/random.mjs';

const [seed, wanted] = process.argv.slice(2).map(Number);
const { below } = random(seed);
const chance = percent => below(100) < percent;
const pick = list => list[below(list.length)];
const unit = () => below(2 ** 30) / 2 ** 29 - 1;
const normal = () => unit() + unit() + unit();

// ---- heads ------------------------------------------------------------------------------------------------------------------

/** Number k of row i of a matrix. */
const ROWS = {
  plain: () => normal(),
  'of several lengths': i => normal() * 2 ** (i % 5),
  outliers: (i, k) => normal() * (k % 37 === 5 || i % 50 === 7 ? 60 : 1),
  signs: () => pick([-1, 1]),
  'of few values': () => below(3) - 1,
  'far from 0': (_, k) => 30 * Math.sin(k) + normal() / 4,
  'the same': (_, k) => Math.cos(k),
  zeros: i => (i % 3 ? 0 : normal()),
  tiny: () => normal() * 2 ** -120,
  subnormal: () => normal() * 2 ** -140,
  huge: () => normal() * 2 ** 60,
  'largest of all': i => normal() * 2 ** (97 + (i % 3)),
  'of all sizes': i => normal() * 2 ** (((7 * i) % 160) - 80),
};

function matrix(kind, V, d) {
  const weight = new Float32Array(V * d);
  for (let i = 0; i < V; i++) {
    if (i > 0 && chance(25)) {
      const other = below(i) * d; // equal logits
      weight.copyWithin(i * d, other, other + d);
      if (chance(50)) for (let k = 0; k < d; k += 9) weight[i * d + k] *= 1 + 2 ** -12;
    } else {
      for (let k = 0; k < d; k++) weight[i * d + k] = ROWS[kind](i, k);
    }
  }
  return weight;
}

function spoilt(weight, V, d) {
  const values = pick([
    [NaN],
    [Infinity],
    [-Infinity],
    [3.4e38],
    [1e-45],
    [NaN, Infinity, -Infinity, 3.4e38],
  ]);
  for (let i = 0; i < 1 + below(5); i++) weight[below(V) * d + below(d)] = pick(values);
}

async function heads() {
  const V = pick([300, 512, 1001, 2000, 3500]);
  const d = pick([16, 64, 100, 128, 192, 256]);
  const kind = pick(Object.keys(ROWS));
  const weight = matrix(kind, V, d);
  if (chance(15)) spoilt(weight, V, d);
  const bias = () => Float32Array.from({ length: V }, () => pick([0, normal(), normal() * 8]));
  const settings = {
    threads: 1 + below(7),
    ...(chance(25) && { bias: bias() }),
    ...(chance(30) && { logitScale: pick([0.3, 2.5, 1e-3, -1, 60]) }),
    ...(chance(25) && { softCap: pick([0.5, 5, 30]), capOrder: pick(['scale-then-cap', 'cap-then-scale']) }),
    ...(chance(25) && { validVocabSize: V - below(V >> 1) }),
    ...(chance(15) && { coalesce: false }),
  };
  const dtype = pick(['f32', 'f32', 'f16', 'bf16', 'q8_0', 'i8']);
  const sizes = { vocabSize: V, hiddenSize: d, ...settings };
  const make = async screen => {
    if (dtype === 'f32') return LMHead.from(weight, { ...sizes, screen });
    if (dtype === 'bf16' || dtype === 'f16') {
      const halves = Uint16Array.from(new Uint32Array(weight.buffer), word => word >>> 16);
      return LMHead.from(halves, { ...sizes, dtype, screen });
    }
    if (dtype === 'q8_0' && d % 32 !== 0) return undefined;
    try {
      return (await LMHead.from(weight, sizes).quantize(dtype, { screen })).head;
    } catch {
      return undefined; // of what is not finite there is none
    }
  };
  const screened = await make(true);
  if (!screened) return heads();
  return { screened, plain: await make(false), V, d, what: `${kind}, ${dtype}, V = ${V}, d = ${d}` };
}

// ---- calls ------------------------------------------------------------------------------------------------------------------

/** A row of E, near one, or anything else. */
function state({ plain, V, d }) {
  const h = new Float32Array(d);
  const kind = below(12);
  if (kind < 7) {
    const row = plain.embed([below(V)]);
    let square = 0;
    for (const x of row) square += x * x;
    const scale = kind === 0 || !(square > 0) || !Number.isFinite(square) ? 1 : pick([1, 4, 12]) / square;
    const noise = scale * Math.sqrt(square / d) * pick([0, 0.1, 0.5]);
    for (let k = 0; k < d; k++) h[k] = row[k] * scale + (noise > 0 ? noise * normal() : 0);
  } else if (kind < 10) {
    const scale = pick([1, 1, 0.05, 2 ** -58, 2 ** 58, 2 ** 100, 2 ** -130]);
    for (let k = 0; k < d; k++) h[k] = normal() * scale;
  } else if (kind === 10) {
    h[below(d)] = pick([1, -2, 1e-45, 3e38, NaN, Infinity]);
  }
  return h;
}

const some = (most, V) => Array.from({ length: below(most) }, () => below(V));
function drawing(V) {
  const options = { seed: below(1000), step: below(50) };
  const add = (percent, more) => chance(percent) && Object.assign(options, more());
  add(70, () => ({ temperature: pick([0, 0, 0.3, 0.7, 1, 1.6, 1e-300, 40]) }));
  add(35, () => ({ topK: 1 + below(pick([3, 60])) }));
  add(25, () => ({ minP: pick([0.5, 0.1, 0.01, 1]) }));
  add(10, () => ({ topP: 0.8 }));
  add(8, () => ({ stageOrder: ['temperature', 'minP', 'topK', 'topP'] }));
  add(8, () => ({ minKeep: 3 }));
  add(20, () => ({ bannedIds: some(9, V), logitBias: { [below(V)]: pick([3, -3, -Infinity]) } }));
  add(15, () => ({ history: some(30, V), repetitionPenalty: 1.3, frequencyPenalty: 0.3 }));
  add(6, () => ({ allowedIds: [below(V), ...some(40, V)] }));
  add(5, () => ({ stream: below(9) }));
  if (chance(50)) options.withLogProbs = false;
  else add(10, () => ({ topLogProbs: below(4) }));
  return options;
}

/** Each: what it is asked, and the call. */
const METHODS = {
  argmax: () => [],
  topK: () => [1 + below(pick([4, 60])), chance(80) ? { withLogProbs: false } : {}],
  sample: V => [drawing(V)],
  run: V => [
    {
      ...(chance(50) && { argmax: true }),
      ...(chance(50) && { top: 1 + below(20) }),
      ...(chance(5) && { logits: true }),
      sample: true,
      ...drawing(V),
      temperature: pick([0.5, 1]),
    },
  ],
  candidates: () => [{ topK: 1 + below(30), topP: pick([1, 0.9]) }],
};

function call(of) {
  const { V, d } = of;
  const kind = below(20);
  const n = pick([1, 1, 1, 1, 2, 3, 5, 9]);
  const hidden = new Float32Array(n * d);
  for (let i = 0; i < n; i++) hidden.set(state(of), i * d);
  if (kind < 3) {
    const target = chance(50) ? below(V) : hidden.slice(0, d);
    const [k, options] = [1 + below(12), { metric: pick(['dot', 'cosine']) }];
    return ['nearest', head => head.nearestSync(target, k, options)];
  }
  if (kind === 3) {
    const ids = some(n + 1, V).slice(0, n);
    while (ids.length < n - 1) ids.push(below(V));
    const options = { temperature: pick([0, 0, 0.8]), seed: 3, bannedIds: some(4, V) };
    return ['verifyDraft', head => head.verifyDraftSync(hidden, ids, options)];
  }
  if (kind < 6) {
    const settings = Array.from({ length: n }, () => {
      const { step, ...options } = drawing(V);
      return options;
    });
    return [
      'nextAll',
      head => {
        const samplers = settings.map(options => head.sampler(options));
        return [head.nextAllSync(samplers, hidden), samplers.map(each => each.toJSON())];
      },
    ];
  }
  const name = pick(Object.keys(METHODS));
  const values = METHODS[name](V);
  if (kind < 15) return [name, head => head[`${name}Sync`](hidden, ...values)];
  const other = hidden.slice(0, d);
  return [
    `${name}, async`,
    async head => {
      const all = [
        head[name](hidden, ...values),
        head.argmax(other),
        head.sample(other, { topK: 3, seed: 1 }),
      ];
      return (await Promise.allSettled(all)).map(({ value, reason }) => value ?? String(reason));
    },
  ];
}

async function outcome(ask, head) {
  try {
    return await ask(head);
  } catch (error) {
    return String(error);
  }
}

// ---- -------------------------------------------------------------------------------------------------------------------------

const counts = { isa: capabilities().isa, calls: 0, searches: 0, fullPasses: 0, heads: 0, errors: 0 };
while (counts.calls < wanted) {
  const of = await heads();
  counts.heads++;
  for (let i = 0; i < 60 && counts.calls < wanted; i++) {
    const [name, ask] = call(of);
    const [got, want] = [await outcome(ask, of.screened), await outcome(ask, of.plain)];
    counts.calls++;
    if (typeof want === 'string') counts.errors++;
    if (isDeepStrictEqual(got, want)) continue;
    console.error(
      `seed ${seed}, head ${counts.heads} (${of.what}), call ${i}: ${name}\n`,
      got,
      '\nwant\n',
      want,
    );
    process.exitCode = 1;
  }
  const { passes, fullPasses } = of.screened.screening;
  counts.searches += passes;
  counts.fullPasses += fullPasses;
  of.screened.close();
  of.plain.close();
}
console.log(JSON.stringify(counts));
