/**
 * The roofline: operations a second over operations a byte of weights, and what limits both (Williams, Waterman, Patterson:
 * "Roofline: an insightful visual performance model", 2009). SVG by hand, for light and dark pages.
 */

const WIDTH = 760;
const HEIGHT = 440;
const LEFT = 70;
const RIGHT = 20;
const TOP = 46;
const BOTTOM = 56;
const COLOURS = { f32: '#2f6fde', f16: '#c2571a', bf16: '#1d8a5f' };

/** @param {{peakFlops: number, isa: string, threads: number, cpu: string}} machine */
export function rooflineChart(machine, measured) {
  const points = measured.filter(({ method }) => method === 'score');
  const intensity = ({ n, vocabSize, hiddenSize, bytes }) => (2 * n * vocabSize * hiddenSize) / bytes;
  const bandwidth = Math.max(...points.map(point => point.bandwidth));
  const xs = [0.3, 2 * Math.max(...points.map(intensity))];
  const ys = [Math.min(...points.map(point => point.flops)) / 2, machine.peakFlops * 1.8];
  const scale = (value, [low, high], from, to) =>
    from + ((Math.log(value) - Math.log(low)) / (Math.log(high) - Math.log(low))) * (to - from);
  const x = value => scale(value, xs, LEFT, WIDTH - RIGHT).toFixed(1);
  const y = value => scale(value, ys, HEIGHT - BOTTOM, TOP).toFixed(1);
  const ridge = machine.peakFlops / bandwidth;
  const roof = `${x(xs[0])},${y(xs[0] * bandwidth)} ${x(ridge)},${y(machine.peakFlops)} ${x(xs[1])},${y(machine.peakFlops)}`;
  const text = (at, down, content, more = '') => `<text x="${at}" y="${down}" ${more}>${content}</text>`;
  const ticks = (values, draw) => values.map(draw).join('\n');
  const between = ([low, high]) => {
    const powers = [];
    for (let p = 10 ** Math.ceil(Math.log10(low)); p <= high; p *= 10) powers.push(p);
    return powers;
  };
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="system-ui, sans-serif" font-size="12">
<style>
  text { fill: #24292f } .axis { stroke: #8b949e } .grid { stroke: #d0d7de } .roof { stroke: #24292f } .back { fill: #ffffff }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .grid { stroke: #30363d } .roof { stroke: #e6edf3 } .back { fill: #0d1117 } }
</style>
<rect class="back" width="${WIDTH}" height="${HEIGHT}"/>
${text(LEFT, 20, `score, ${machine.isa}, ${machine.threads} threads, ${machine.cpu}`, 'font-size="14" font-weight="600"')}
${ticks(
  between(ys),
  value =>
    `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(value)}" y2="${y(value)}"/>` +
    text(LEFT - 8, Number(y(value)) + 4, String(value / 1e9), 'text-anchor="end"'),
)}
${ticks(
  between(xs),
  value =>
    `<line class="grid" y1="${TOP}" y2="${HEIGHT - BOTTOM}" x1="${x(value)}" x2="${x(value)}"/>` +
    text(x(value), HEIGHT - BOTTOM + 18, String(value), 'text-anchor="middle"'),
)}
<polyline class="roof" fill="none" stroke-width="2" points="${roof}"/>
${text(WIDTH - RIGHT - 4, Number(y(machine.peakFlops)) - 8, `multiply-adds from registers, ${(machine.peakFlops / 1e9).toFixed(0)} GFLOP/s`, 'text-anchor="end"')}
${text(Number(x(xs[0])) + 8, Number(y(xs[0] * bandwidth)) - 12, `reading, ${(bandwidth / 1e9).toFixed(0)} GB/s`)}
${points
  .map(
    point =>
      `<circle cx="${x(intensity(point))}" cy="${y(point.flops)}" r="4" fill="${COLOURS[point.dtype]}" fill-opacity="0.8">` +
      `<title>${point.vocabSize} × ${point.hiddenSize} ${point.dtype}, n = ${point.n}: ${(point.flops / 1e9).toFixed(0)} GFLOP/s</title></circle>`,
  )
  .join('\n')}
${Object.entries(COLOURS)
  .map(
    ([dtype, colour], i) =>
      `<circle cx="${LEFT + 14 + 60 * i}" cy="${TOP - 12}" r="4" fill="${colour}"/>` +
      text(LEFT + 22 + 60 * i, TOP - 8, dtype),
  )
  .join('\n')}
${text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, 'operations a byte of weights', 'text-anchor="middle"')}
<text transform="translate(18 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">GFLOP/s</text>
</svg>
`;
}
