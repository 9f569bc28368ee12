/**
 * The roofline: operations a second over operations a byte of weights, and what limits both (Williams, Waterman, Patterson:
 * "Roofline: an insightful visual performance model", 2009). SVG by hand, for light and dark pages.
 */
import { median } from './timing.mjs';

const WIDTH = 760;
const HEIGHT = 440;
const LEFT = 76;
const RIGHT = 24;
const TOP = 64;
const BOTTOM = 60;
/** Told apart by shape too: colors alone do not tell everyone. */
const DTYPES = {
  f32: { color: '#4a8cf7', mark: 'M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z' },
  f16: { color: '#d9742b', mark: 'M-3.6 -3.6h7.2v7.2h-7.2z' },
  bf16: { color: '#2ea06f', mark: 'M0 -5.2l5.2 5.2l-5.2 5.2l-5.2 -5.2z' },
};

/** @param {{isa: string, threads: number, cpu: string}} machine */
export function rooflineChart(machine, measured) {
  const points = measured
    .filter(({ method }) => method === 'score')
    .map(point => {
      // The best of the rounds, under the best that was seen of both limits.
      const operations = 2 * point.n * point.vocabSize * point.hiddenSize;
      return { ...point, intensity: operations / point.bytes, flops: operations / point.best };
    });
  const bandwidth = Math.max(...points.map(point => point.bandwidth));
  const peakFlops = Math.max(...points.map(point => point.peakFlops));
  const xs = [0.3, 2 * Math.max(...points.map(point => point.intensity))];
  const ys = [Math.min(...points.map(point => point.flops)) / 2, peakFlops * 2];
  const x = logarithmic(xs, LEFT, WIDTH - RIGHT);
  const y = logarithmic(ys, HEIGHT - BOTTOM, TOP);
  const [left, ridge, right] = [xs[0], peakFlops / bandwidth, xs[1]];
  const roof = [
    [left, left * bandwidth],
    [ridge, peakFlops],
    [right, peakFlops],
  ];
  // A name along the slope, in the middle of what shows of it.
  const lowest = Math.max(left, ys[0] / bandwidth);
  const middle = Math.sqrt(lowest * ridge);
  const slope = (Math.atan2(y(roof[1][1]) - y(lowest * bandwidth), x(ridge) - x(lowest)) * 180) / Math.PI;
  const { isa, threads, cpu } = machine;
  const cores = threads === 1 ? '1 thread' : `${threads} threads`;

  const title = `Scoring 1 to ${Math.max(...points.map(({ n }) => n))} hidden states: ${cpu}, ${isa}, ${cores}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="system-ui, sans-serif" font-size="12">
<title>${title}</title>
<style>
  text { fill: #24292f } .axis { stroke: #57606a } .grid { stroke: #d8dee4 } .roof { stroke: #24292f } .back { fill: #ffffff }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .axis { stroke: #8b949e } .grid { stroke: #30363d } .roof { stroke: #e6edf3 } .back { fill: #0d1117 } }
</style>
<clipPath id="plot"><rect x="${LEFT}" y="${TOP}" width="${WIDTH - RIGHT - LEFT}" height="${HEIGHT - BOTTOM - TOP}"/></clipPath>
<rect class="back" width="${WIDTH}" height="${HEIGHT}"/>
${text(LEFT, 24, title, 'font-size="14" font-weight="600"')}
${legend()}
${between(ys)
  .map(value => {
    const at = y(value).toFixed(1);
    return `<path class="grid" d="M${LEFT} ${at}H${WIDTH - RIGHT}"/>${text(LEFT - 8, y(value) + 4, value / 1e9, 'text-anchor="end"')}`;
  })
  .join('\n')}
${between(xs)
  .map(value => {
    const at = x(value).toFixed(1);
    return `<path class="grid" d="M${at} ${TOP}V${HEIGHT - BOTTOM}"/>${text(x(value), HEIGHT - BOTTOM + 18, value, 'text-anchor="middle"')}`;
  })
  .join('\n')}
<path class="axis" fill="none" d="M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}"/>
${line(roof, 'class="roof" stroke-width="2" clip-path="url(#plot)"')}
${text(WIDTH - RIGHT - 4, y(peakFlops) - 8, `multiply-adds from registers, ${(peakFlops / 1e9).toFixed(0)} GFLOP/s`, 'text-anchor="end"')}
<text transform="translate(${x(middle).toFixed(1)} ${(y(middle * bandwidth) - 8).toFixed(1)}) rotate(${slope.toFixed(1)})" text-anchor="middle">reading, ${(bandwidth / 1e9).toFixed(0)} GB/s</text>
${Object.keys(DTYPES)
  .map(dtype => series(dtype))
  .join('\n')}
${text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, 'operations per byte of weights (multiply and add: two)', 'text-anchor="middle"')}
<text transform="translate(20 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">GFLOP/s</text>
</svg>
`;

  /** What each shape reaches, and a line through the medians. */
  function series(dtype) {
    const own = points.filter(point => point.dtype === dtype);
    const { color, mark } = DTYPES[dtype];
    const medians = [...new Set(own.map(({ n }) => n))].map(n => {
      const some = own.filter(point => point.n === n);
      return [some[0].intensity, median(some.map(({ flops }) => flops))];
    });
    const marks = own.map(({ intensity, flops, vocabSize, hiddenSize, n }) => {
      const title = `${vocabSize} × ${hiddenSize} ${dtype}, n = ${n}: ${(flops / 1e9).toFixed(0)} GFLOP/s`;
      const at = `${x(intensity).toFixed(1)} ${y(flops).toFixed(1)}`;
      return `<path d="${mark}" transform="translate(${at})" fill="${color}" fill-opacity="0.85"><title>${title}</title></path>`;
    });
    return [line(medians, `stroke="${color}" stroke-opacity="0.6"`), ...marks].join('\n');
  }

  function line(corners, style) {
    const path = corners.map(([intensity, flops]) => `${x(intensity).toFixed(1)} ${y(flops).toFixed(1)}`);
    return `<path fill="none" ${style} d="M${path.join('L')}"/>`;
  }
}

function text(x, y, content, more = '') {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${content}</text>`;
}

function legend() {
  return Object.entries(DTYPES)
    .map(([dtype, { color, mark }], i) => {
      const at = LEFT + 6 + 62 * i;
      return `<path d="${mark}" transform="translate(${at} 44)" fill="${color}"/>${text(at + 10, 48, dtype)}`;
    })
    .join('\n');
}

/** Where a value lies between two places, on a logarithmic scale. */
function logarithmic([low, high], from, to) {
  return value => from + (Math.log(value / low) / Math.log(high / low)) * (to - from);
}

/** 1, 2 and 5 times powers of ten. */
function between([low, high]) {
  const values = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10)
    for (const step of [1, 2, 5])
      if (step * power >= low && step * power <= high) values.push(Number((step * power).toPrecision(1)));
  return values;
}
