/** What `bench` has measured, as a page: the roofline, and what drawing a token costs beside its logits. */
import { escapeHtml, page } from './page';

export interface Measured {
  method: string;
  positions: number;
  /** Seconds of a call. */
  best: number;
  median: number;
}

export interface BenchPageParts {
  title: string;
  summary: string;
  vocabSize: number;
  hiddenSize: number;
  /** Of the weights. */
  bytes: number;
  measured: readonly Measured[];
  /** What the machine can do at most; not known of plain JavaScript. */
  limits?: { bytesPerSecond: number; operationsPerSecond: number };
  secondsText(seconds: number): string;
}

/** Methods whose calls for one position are compared. */
const OF_A_TOKEN = /^(?:logits|argmax|sample)/;

export function benchPage(parts: BenchPageParts): string {
  const { title, summary, measured, secondsText } = parts;
  const cell = (text: string, kind = '') => `<td${kind && ` class="${kind}"`}>${escapeHtml(text)}</td>`;
  const lines = measured.map(
    ({ method, positions, best, median }) =>
      `<tr>${cell(method)}${cell(String(positions), 'number')}${cell(secondsText(best), 'number')}${cell(secondsText(median), 'number')}${cell(rate(positions / median), 'number')}</tr>`,
  );
  const heads = ['method', 'positions', 'best', 'median', 'positions/s'].map(
    name => `<th scope="col">${name}</th>`,
  );
  const body = [
    `<h1>${escapeHtml(title)}</h1>`,
    `<p>${escapeHtml(summary)}</p>`,
    '<h2 id="roofline">Roofline</h2>',
    `<p>${ROOFLINE_TEXT}</p>`,
    `<div class="chart">${roofline(parts)}</div>`,
    '<h2 id="sampling">The next token</h2>',
    '<p>Best time of a call for one position; the line is that of the logits alone.</p>',
    tokenCosts(measured, secondsText),
    '<h2 id="all">All measurements</h2>',
    `<div class="chart"><table class="all"><thead><tr>${heads.join('')}</tr></thead><tbody>${lines.join('')}</tbody></table></div>`,
  ];
  return page({ title, style: STYLE, body: body.join('\n') });
}

const ROOFLINE_TEXT =
  'What scoring 1, 2, 4… positions at a time reaches, over operations per byte of weights. What is below the slope waits for memory; ' +
  'below the flat, for arithmetic: float32 multiply-adds from registers, which matrix units go beyond. (Williams, Waterman, Patterson, 2009.)';

function rate(perSecond: number): string {
  return Math.round(perSecond).toLocaleString('en-US');
}

function tokenCosts(measured: readonly Measured[], secondsText: (seconds: number) => string): string {
  const rows = measured.filter(({ method, positions }) => positions === 1 && OF_A_TOKEN.test(method));
  const logits = rows.find(({ method }) => method === 'logits')?.best;
  const most = Math.max(...rows.map(({ best }) => best));
  const place = (seconds: number) => (100 * seconds) / most;
  const lines = rows.map(({ method, best }) => {
    const mark = logits ? `<path class="mark" d="M${place(logits).toFixed(2)} 0V10"/>` : '';
    const bar = `<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect width="${place(best).toFixed(2)}" height="10"/>${mark}</svg>`;
    const times = logits ? `${(best / logits).toFixed(2)} ×` : '';
    return `<tr><th scope="row">${escapeHtml(method)}</th><td class="bar">${bar}</td><td class="number">${secondsText(best)}</td><td class="number">${times}</td></tr>`;
  });
  return `<table class="costs"><thead><tr><th scope="col">method</th><th></th><th scope="col">time</th><th scope="col">of the logits</th></tr></thead><tbody>${lines.join('')}</tbody></table>`;
}

const [WIDTH, HEIGHT] = [760, 420];
const [LEFT, RIGHT, TOP, BOTTOM] = [76, 24, 20, 56];

function roofline({ vocabSize, hiddenSize, bytes, measured, limits }: BenchPageParts): string {
  const points = measured
    .filter(({ method }) => method === 'score')
    .map(({ positions, best }) => {
      const operations = 2 * positions * vocabSize * hiddenSize;
      return { positions, intensity: operations / bytes, reached: operations / best };
    })
    .sort((a, b) => a.positions - b.positions);
  const intensities = points.map(({ intensity }) => intensity);
  const reached = points.map(point => point.reached);
  const most = Math.max(limits?.operationsPerSecond ?? 0, ...reached);
  const xs = [Math.min(...intensities) / 2, Math.max(...intensities) * 2] as const;
  const ys = [Math.min(...reached) / 2, most * 2] as const;
  const x = logarithmic(xs, LEFT, WIDTH - RIGHT);
  const y = logarithmic(ys, HEIGHT - BOTTOM, TOP);
  const text = (at: number, up: number, content: string, more = '') =>
    `<text x="${at.toFixed(1)}" y="${up.toFixed(1)}" ${more}>${escapeHtml(content)}</text>`;
  const parts = [
    ...between(ys).map(
      value =>
        `<path class="grid" d="M${LEFT} ${y(value).toFixed(1)}H${WIDTH - RIGHT}"/>${text(LEFT - 8, y(value) + 4, String(Number((value / 1e9).toPrecision(3))), 'text-anchor="end"')}`,
    ),
    ...between(xs).map(
      value =>
        `<path class="grid" d="M${x(value).toFixed(1)} ${TOP}V${HEIGHT - BOTTOM}"/>${text(x(value), HEIGHT - BOTTOM + 18, String(value), 'text-anchor="middle"')}`,
    ),
    `<path class="axis" d="M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}"/>`,
  ];
  if (limits) {
    const { bytesPerSecond, operationsPerSecond } = limits;
    const ridge = operationsPerSecond / bytesPerSecond;
    const corners = [xs[0], Math.min(Math.max(ridge, xs[0]), xs[1]), xs[1]].map(
      at => `${x(at).toFixed(1)} ${y(Math.min(at * bytesPerSecond, operationsPerSecond)).toFixed(1)}`,
    );
    const gigabytes = `memory: ${(bytesPerSecond / 1e9).toPrecision(3)} GB/s`;
    const flops = `multiply-adds: ${(operationsPerSecond / 1e9).toPrecision(3)} GFLOP/s`;
    parts.push(
      `<path class="roof" clip-path="url(#plot)" d="M${corners.join('L')}"/>`,
      text(WIDTH - RIGHT - 4, HEIGHT - BOTTOM - 26, gigabytes, 'text-anchor="end"'),
      text(WIDTH - RIGHT - 4, HEIGHT - BOTTOM - 10, flops, 'text-anchor="end"'),
    );
  }
  const line = points.map(point => `${x(point.intensity).toFixed(1)} ${y(point.reached).toFixed(1)}`);
  parts.push(`<path class="line" d="M${line.join('L')}"/>`);
  for (const point of points) {
    const [cx, cy] = [x(point.intensity), y(point.reached)];
    parts.push(
      `<circle cx="${cx.toFixed(1)}" cy="${cy.toFixed(1)}" r="4.5"><title>${point.positions} at a time: ${(point.reached / 1e9).toPrecision(3)} GFLOP/s</title></circle>`,
      text(cx + 7, cy + 15, String(point.positions)),
    );
  }
  parts.push(
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, 'operations per byte of weights', 'text-anchor="middle"'),
    `<text transform="translate(20 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">GFLOP/s</text>`,
  );
  const said = points
    .map(({ positions, reached: r }) => `${positions}: ${(r / 1e9).toPrecision(3)}`)
    .join(', ');
  const label = `GFLOP/s by positions at a time: ${said}`;
  const clip = `<clipPath id="plot"><rect x="${LEFT}" y="${TOP}" width="${WIDTH - RIGHT - LEFT}" height="${HEIGHT - BOTTOM - TOP}"/></clipPath>`;
  return `<svg class="roofline" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${label}">${clip}${parts.join('')}</svg>`;
}

/** Where a value lies between two places, on a logarithmic scale. */
function logarithmic([low, high]: readonly [number, number], from: number, to: number) {
  return (value: number) => from + (Math.log(value / low) / Math.log(high / low)) * (to - from);
}

/** 1, 2 and 5 times powers of ten; of a wide range the powers alone. */
function between([low, high]: readonly [number, number]): number[] {
  const values: number[] = [];
  const steps = high / low > 1e4 ? [1] : [1, 2, 5];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10)
    for (const step of steps)
      if (step * power >= low && step * power <= high) values.push(Number((step * power).toPrecision(1)));
  return values;
}

const STYLE = `
h2{font-size:1.05rem;margin:1.6rem 0 .2rem}
.chart{overflow-x:auto}
.roofline{display:block;width:100%;min-width:560px;max-width:860px;font:12px system-ui,sans-serif}
.roofline text{fill:var(--ink)}
.roofline .grid{stroke:var(--line)}
.roofline .axis{stroke:var(--dim);fill:none}
.roofline .roof{stroke:var(--dim);stroke-width:2;stroke-dasharray:7 4;fill:none}
.roofline .line{stroke:var(--bar);stroke-width:2;fill:none}
.roofline circle{fill:var(--bar);stroke:var(--ground);stroke-width:1.5}
table{border-collapse:collapse;font-size:.9rem}
th{font-weight:500;color:var(--dim);text-align:left}
td.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.costs{width:100%;max-width:860px}
.costs th,.costs td{padding:.2rem .8rem .2rem 0}
.costs thead th:nth-child(n+3){text-align:right;white-space:nowrap}
.costs tbody th{color:var(--ink);width:1%;white-space:nowrap}
.costs .bar{width:99%;min-width:90px}
.costs svg{display:block;width:100%;height:14px}
.costs rect{fill:var(--bar)}
.costs .mark{stroke:var(--accent);stroke-width:2;vector-effect:non-scaling-stroke}
.all th,.all td{padding:.18rem 1.4rem .18rem 0;border-bottom:1px solid var(--line);white-space:nowrap}
.all thead th:nth-child(n+2){text-align:right}
@media (max-width:760px){body{padding:12px}.costs tbody th{white-space:normal;width:40%}}
`;
