/**
 * What `screen: true` gains: `npm run bench -- --screen`. Heads with it and without, in turn, on weights that resemble those of models (a
 * spectrum that falls, outlying columns, a mean, rows of several lengths, near-duplicates) and states with a likeliest token; and on
 * states that say nothing of E, the worst there are.
 */
import { LMHead } from '../dist/index.mjs';
import { truncated } from './random-head.mjs';
import { median, table } from './timing.mjs';

const SHAPES = [
  [151936, 896],
  [262144, 640],
  [128256, 2048],
];
const STATES = 8;

/** Near enough to normal variates, from a linear congruential generator. */
class Normal {
  #state = 1;
  next() {
    let sum = 0;
    for (let i = 0; i < 4; i++) sum += this.bits();
    return (sum / 2 ** 31) * 0.866;
  }
  bits() {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) | 0;
    return this.#state;
  }
  below(n) {
    return Math.floor(((this.bits() >>> 0) / 2 ** 32) * n);
  }
}

function spectrum(d) {
  return Float64Array.from({ length: d }, (_, k) => (k + 1) ** -0.35 * (k % 97 === 5 ? 6 : 1));
}

/** [V,d] in shared memory, and the mean of its rows. */
function weights(V, d, isotropic) {
  const random = new Normal();
  const spread = isotropic ? new Float64Array(d).fill(1) : spectrum(d);
  const mean = Float32Array.from(spread, s => 0.3 * s * random.next());
  const e = new Float32Array(new SharedArrayBuffer(4 * V * d));
  for (let row = 0; row < V; row++) {
    const at = row * d;
    if (!isotropic && row > 100 && random.below(10) < 3) {
      const other = random.below(row) * d;
      for (let k = 0; k < d; k++) e[at + k] = e[other + k] + 0.3 * spread[k] * random.next();
    } else {
      const length = isotropic ? 1 : Math.exp(0.25 * random.next());
      for (let k = 0; k < d; k++) e[at + k] = mean[k] + length * spread[k] * random.next();
    }
  }
  return { e, mean, spread };
}

/**
 * Logits of spread 2.5; the best, but of isotropic states, 8 to 20 above the others' bulk.
 * @returns {{ hidden: Float32Array, ratio: number }} [d]; |h| |E - mean| / (sqrt(d) spread of logits)
 */
function stateOf({ e, mean, spread }, V, d, isotropic, seed) {
  const random = new Normal();
  for (let i = 0; i < 1000 * seed; i++) random.bits();
  const h = Float64Array.from(spread, s => random.next() * s ** 0.25);
  const dot = row => {
    let sum = 0;
    for (let k = 0; k < d; k++) sum += h[k] * (e[row * d + k] - mean[k]);
    return sum;
  };
  const rows = Array.from({ length: 2000 }, () => random.below(V));
  const deviation = Math.sqrt(rows.reduce((sum, row) => sum + dot(row) ** 2, 0) / rows.length);
  if (!isotropic) {
    const best = random.below(V);
    let square = 0;
    for (let k = 0; k < d; k++) square += (e[best * d + k] - mean[k]) ** 2;
    const more = ((5 + (seed % 4)) * deviation - dot(best)) / square;
    for (let k = 0; k < d; k++) h[k] += more * (e[best * d + k] - mean[k]);
  }
  let [lengths, length] = [0, 0];
  for (const row of rows) for (let k = 0; k < d; k++) lengths += (e[row * d + k] - mean[k]) ** 2;
  for (const x of h) length += x * x;
  const hidden = Float32Array.from(h, x => (x * 2.5) / deviation);
  return { hidden, ratio: Math.sqrt((length * lengths) / rows.length / d) / deviation };
}

const METHODS = {
  argmax: (head, h) => head.argmaxSync(h),
  'sample, T = 1': (head, h, seed) => head.sampleSync(h, { seed, withLogProbs: false }).ids,
  'sample, T = 0.7': (head, h, seed) =>
    head.sampleSync(h, { seed, temperature: 0.7, withLogProbs: false }).ids,
  'top-k 50': (head, h) => head.topKSync(h, 50, { withLogProbs: false }).ids,
  'sample, min-p 0.05': (head, h, seed) => head.sampleSync(h, { seed, minP: 0.05 }).ids,
};

/** With so many hidden states in one call, where the copy takes them together (docs/screening.md). */
const TOGETHER = [2, 4, 8, 16];

/** Of every state and those that follow it, n in all: [n,d] each. */
function batchesOf(states, n) {
  const d = states[0].hidden.length;
  return states.map((_, i) => {
    const batch = new Float32Array(n * d);
    for (let k = 0; k < n; k++) batch.set(states[(i + k) % states.length].hidden, k * d);
    return batch;
  });
}

/** Seconds of wall and CPU, together over all threads. */
function timed(run) {
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  const value = run();
  const wall = Number(process.hrtime.bigint() - start) / 1e9;
  const { user, system } = process.cpuUsage(cpu);
  return { value, wall, cpu: (user + system) / 1e6 };
}

function measure(rows, heads, states, what, rounds) {
  const { plain, screened } = heads;
  const tried = Object.entries(METHODS).map(([name, method]) => ({ name, method, n: 1 }));
  for (const n of TOGETHER) tried.push({ name: `argmax, n = ${n}`, method: METHODS.argmax, n });
  for (const { name, method, n } of tried) {
    const ratios = { wall: [], cpu: [] };
    const before = screened.screening;
    const batches = batchesOf(states, n);
    for (let round = 0; round < rounds; round++) {
      for (const [i, hidden] of batches.entries()) {
        const [a, b] = [plain, screened].map(head => timed(() => method(head, hidden, round + i)));
        if (!a.value.every((id, k) => id === b.value[k])) throw new Error(`${what}, ${name}: other ids`);
        ratios.wall.push(a.wall / b.wall);
        ratios.cpu.push(a.cpu / b.cpu);
      }
    }
    const { passes, fullPasses, survivors } = screened.screening;
    const [done, full] = [passes - before.passes, fullPasses - before.fullPasses];
    const left = survivors.mean * passes - before.survivors.mean * before.passes; // where calls have a state each
    rows.push([
      what,
      name,
      `${median(ratios.wall).toFixed(2)} ×`,
      `${median(ratios.cpu).toFixed(2)} ×`,
      n === 1 && done > 0 ? (left / done).toFixed(0) : '',
      String(full),
    ]);
  }
}

/** @param {{ isa: string, threads: number, cpu: string }} machine */
export async function printScreened(machine, quick) {
  console.log(`lmhead, ${machine.isa}, ${machine.threads} threads; ${machine.cpu}\n`);
  const rounds = quick ? 1 : 4;
  for (const isotropic of [false, true]) {
    for (const [V, d] of quick ? SHAPES.slice(0, 1) : SHAPES) {
      const given = weights(V, d, isotropic);
      const states = Array.from({ length: STATES }, (_, i) => stateOf(given, V, d, isotropic, i + 1));
      const sizes = { vocabSize: V, hiddenSize: d, backend: 'native' };
      const rows = [];
      const builds = [];
      for (const dtype of ['f32', 'bf16', 'f16', 'q8_0']) {
        const heads = await headsOf(given.e, sizes, dtype);
        if (heads.seconds) builds.push(`${dtype} ${((heads.seconds / (V * d)) * 1e8).toFixed(2)} s`);
        measure(rows, heads, states, dtype, rounds);
        heads.plain.close();
        heads.screened.close();
      }
      const ratio = median(states.map(state => state.ratio)).toFixed(2);
      console.log(`\n${V} × ${d}, ${isotropic ? 'isotropic' : 'as of a model'}; |h||E|/(√d·σ) ${ratio}.`);
      console.log(`Making the copy, for 10^8 weights: ${builds.join(', ')}.\n`);
      table(['', '', 'wall', 'CPU', 'rows left', 'full passes'], rows);
    }
  }
}

async function headsOf(e, sizes, dtype) {
  if (dtype === 'q8_0') {
    const whole = LMHead.from(e, { ...sizes, copy: false });
    const [{ head: plain }, { head: screened }] = [
      await whole.quantize('q8_0'),
      await whole.quantize('q8_0', { screen: true }),
    ];
    whole.close();
    return { plain, screened };
  }
  let data = e;
  if (dtype !== 'f32') {
    const halves = truncated(e.slice(), dtype);
    data = new Uint16Array(new SharedArrayBuffer(halves.byteLength));
    data.set(halves);
  }
  const options = { ...sizes, dtype: dtype === 'f32' ? undefined : dtype, copy: false };
  const plain = LMHead.from(data, options);
  const { value: screened, wall } = timed(() => LMHead.from(data, { ...options, screen: true }));
  return { plain, screened, seconds: wall };
}
