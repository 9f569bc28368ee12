// Draws which rows of a matrix a search by its bounded copy has to read (docs/screening.md): `node bench/survivors-chart.mjs FILE`.
//
// The matrix is made up, and meant to be like those of models: numbers of a few directions that matter more than others, a mean row,
// rows of different lengths, near-duplicates. What is drawn is computed by the float64 proof of the bound, dist/reference/screening.js.
import { writeFileSync } from 'node:fs';
import screening from '../dist/reference/screening.js';

const { boundOf, estimateOf, holdRow, rotationOf, searchedState } = screening;
const V = 10_000;
const d = 896;

let word = 1;
const uniform = () => {
  word = (Math.imul(word, 1664525) + 1013904223) >>> 0;
  return (word + 0.5) / 2 ** 32;
};
const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());

const spread = Float64Array.from({ length: d }, (_, k) => (k + 1) ** -0.35);
const shift = Float64Array.from({ length: d }, () => 0.3 * normal());
const rows = [];
for (let i = 0; i < V; i++) {
  const size = Math.exp(0.25 * normal());
  const near = uniform() < 0.3 && i > 0 ? rows[Math.floor(uniform() * i)] : undefined;
  rows.push(
    Float32Array.from({ length: d }, (_, k) =>
      near ? near[k] + 0.3 * spread[k] * normal() : shift[k] * spread[k] + size * spread[k] * normal(),
    ),
  );
}
const mean = Float32Array.from({ length: d }, (_, k) => rows.reduce((sum, row) => sum + row[k], 0) / V);
// A state that has a best token, and some good ones.
const liked = Array.from({ length: 14 }, () => rows[Math.floor(uniform() * V)]);
const h = Float32Array.from(
  { length: d },
  (_, k) => liked.reduce((sum, row, i) => sum + 0.85 ** i * row[k], 0.4 * normal()) / 6,
);

const rotation = rotationOf(d);
const state = searchedState(rotation, h, mean);
const found = rows.map(row => {
  let logit = 0;
  for (let k = 0; k < d; k++) logit += h[k] * row[k];
  const held = holdRow(rotation, row, mean);
  return { logit, estimate: estimateOf(state, held), bound: boundOf(state, held, mean) };
});
found.sort((a, b) => b.logit - a.logit);
const wrong = found.filter(({ logit, estimate, bound }) => Math.abs(logit - estimate) > bound).length;
if (wrong > 0) throw new Error(`${wrong} products lie beyond their bound`);
const leftOf = k => found.filter(({ estimate, bound }) => estimate + bound >= found[k - 1].logit).length;
const [ofBest, ofFifty] = [leftOf(1), leftOf(50)];

// ---- the picture --------------------------------------------------------------------------------------------------------------

const [width, height] = [760, 420];
const plot = { left: 56, right: 736, top: 76, bottom: 372 };
const [low, high] = [found[V - 1].estimate, found[0].estimate + found[0].bound];
const step = [1, 2, 5, 10, 20].find(each => (high - low) / each <= 9);
const [bottom, top] = [Math.floor(low / step) * step, Math.ceil(high / step) * step];
const x = rank => plot.left + ((plot.right - plot.left) * Math.log(rank)) / Math.log(V);
const y = logit => plot.bottom - ((plot.bottom - plot.top) * (logit - bottom)) / (top - bottom);
const at = n => n.toFixed(1);
const count = n => n.toLocaleString('en-US');
const rowsText = n => `${count(n)} ${n === 1 ? 'row' : 'rows'}`;

const ranks = [...new Set(Array.from({ length: 260 }, (_, i) => Math.round(V ** (i / 259))))];
const kindOf = ({ estimate, bound }) =>
  estimate + bound >= found[0].logit ? 'best' : estimate + bound >= found[49].logit ? 'fifty' : 'out';
const bars = { out: '', fifty: '', best: '' };
for (const rank of ranks) {
  const row = found[rank - 1];
  bars[kindOf(row)] +=
    `M${at(x(rank))} ${at(y(row.estimate - row.bound))}V${at(y(row.estimate + row.bound))}`;
}
const exact = ranks
  .map((rank, i) => `${i ? 'L' : 'M'}${at(x(rank))} ${at(y(found[rank - 1].logit))}`)
  .join('');
const title = `Logits of ${count(V)} rows, best first, and what the copy knows of them`;
const lines = [
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="12">`,
  `<title>${title}</title>`,
  '<style>',
  '  text { fill: #24292f } .grid { stroke: #d8dee4 } .exact { stroke: #24292f } .back { fill: #ffffff } .out { stroke: #afb8c1 } .fifty { stroke: #4a8cf7 } .best { stroke: #d9742b }',
  '  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .grid { stroke: #30363d } .exact { stroke: #e6edf3 } .back { fill: #0d1117 } .out { stroke: #545d68 } }',
  '  .bar { stroke-width: 2; fill: none } .exact { stroke-width: 1.5; fill: none } .line { stroke-dasharray: 5 4; fill: none }',
  '</style>',
  `<rect class="back" width="${width}" height="${height}"/>`,
  `<text x="${plot.left}" y="24" font-size="14" font-weight="600">${title}</text>`,
];
const legend = [
  ['best', `may be the best: ${rowsText(ofBest)}`],
  ['fifty', `may be among the 50 best: ${count(ofFifty)}`],
  ['out', `ruled out: ${count(V - ofFifty)}`],
];
legend.forEach(([kind, text], i) => {
  const left = plot.left + [0, 190, 440][i];
  lines.push(
    `<path class="bar ${kind}" d="M${left + 4} 40V54"/><text x="${left + 14}" y="51">${text}</text>`,
  );
});
for (let logit = bottom; logit <= top; logit += step) {
  lines.push(
    `<path class="grid" d="M${plot.left} ${at(y(logit))}H${plot.right}"/><text x="${plot.left - 8}" y="${at(y(logit) + 4)}" text-anchor="end">${logit}</text>`,
  );
}
for (let rank = 1; rank <= V; rank *= 10) {
  lines.push(`<text x="${at(x(rank))}" y="${plot.bottom + 18}" text-anchor="middle">${count(rank)}</text>`);
}
lines.push(
  `<text x="${plot.right}" y="${plot.bottom + 36}" text-anchor="end">place among all logits; bars: estimate ± bound, line: the logit</text>`,
);
for (const kind of ['out', 'fifty', 'best']) lines.push(`<path class="bar ${kind}" d="${bars[kind]}"/>`);
lines.push(
  `<path class="exact" d="${exact}"/>`,
  `<path class="line best" d="M${plot.left} ${at(y(found[0].logit))}H${plot.right}"/>`,
  `<path class="line fifty" d="M${plot.left} ${at(y(found[49].logit))}H${plot.right}"/>`,
  '</svg>',
);
writeFileSync(process.argv[2], `${lines.join('\n')}\n`);
console.log(`${ofBest} rows may be the best, ${ofFifty} among the 50 best, of ${V}`);
