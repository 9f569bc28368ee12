/** Pages that stand alone: one file with all that it needs, which opens from a disk and asks no network for anything. */
import { createHash } from 'node:crypto';

export interface PageParts {
  title: string;
  /** CSS, after what all pages have. */
  style: string;
  /** HTML in which texts are escaped. */
  body: string;
  /** JavaScript, after what all pages have; it finds the data as `data`. */
  script?: string;
  data?: unknown;
}

/** Steps of a scale of colors, .c0 to .c15. */
export const STEPS = 16;

/** Text in HTML, as content or in a quoted attribute. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, c => `&#${c.charCodeAt(0)};`);
}

export function page({ title, style, body, script, data }: PageParts): string {
  const css = COMMON_STYLE + style;
  const code = script === undefined ? '' : COMMON_SCRIPT + script;
  // Nothing but this style and this script is taken, whatever a token says.
  const policy = [
    "default-src 'none'",
    `style-src ${hashOf(css)}`,
    ...(code ? [`script-src ${hashOf(code)}`] : []),
    ...["base-uri 'none'", "form-action 'none'"],
  ].join('; ');
  const parts = [
    '<!doctype html>',
    '<html lang="en">',
    '<meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="${policy}">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta name="color-scheme" content="light dark">',
    '<meta name="generator" content="lmhead">',
    `<title>${escapeHtml(title)}</title>`,
    `<style>${css}</style>`,
    body,
    ...(data === undefined ? [] : [`<script type="application/json" id="data">${inScript(data)}</script>`]),
    ...(code ? [`<script>${code}</script>`] : []),
  ];
  return `${parts.join('\n')}\n</html>\n`;
}

function hashOf(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}

/** JSON that ends no script, begins no comment, and is JavaScript of any year. */
function inScript(data: unknown): string {
  return JSON.stringify(data).replace(
    /[<>&\u2028\u2029]/g,
    c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Numbers for `words` or `floats` of a page's script: every bit of them. */
export function packed(values: Float32Array | Uint32Array): string {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('base64');
}

type Rgb = [number, number, number];

/** From what is next to the page's ground to the strongest color, by way of one between. */
const RAMPS: Record<'light' | 'dark', Rgb[]> = {
  light: [
    [246, 248, 250],
    [120, 180, 224],
    [10, 62, 120],
  ],
  dark: [
    [24, 29, 36],
    [33, 92, 150],
    [150, 214, 255],
  ],
};

function rampStyle(theme: 'light' | 'dark'): string {
  return Array.from({ length: STEPS }, (_, step) => {
    const at = (2 * step) / (STEPS - 1);
    const [from, to] = RAMPS[theme].slice(Math.min(1, Math.floor(at)));
    const color = from.map((c, i) => Math.round(c + (to[i] - c) * (at - Math.min(1, Math.floor(at)))));
    // Where both are equally far: a contrast of 4.58 at least.
    const ink = luminance(color as Rgb) > 0.179 ? '#000' : '#fff';
    return `.c${step}{background:rgb(${color});color:${ink}}`;
  }).join('');
}

function luminance(color: Rgb): number {
  const [r, g, b] = color.map(c =>
    c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4,
  );
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

const COMMON_STYLE = `
:root{--ground:#fff;--ink:#1f2328;--dim:#59636e;--line:#d1d9e0;--panel:#f6f8fa;--accent:#c2410c;--bar:#3b82c4}
@media (prefers-color-scheme:dark){:root{--ground:#0d1117;--ink:#e6edf3;--dim:#9aa4af;--line:#30363d;--panel:#161b22;--accent:#ff9d4d;--bar:#58a6ff}}
*{box-sizing:border-box}
body{margin:0;padding:16px 20px;background:var(--ground);color:var(--ink);font:15px/1.45 system-ui,sans-serif}
h1{font-size:1.3rem;margin:0 0 .2rem;overflow-wrap:anywhere}
p{margin:.2rem 0 .8rem;color:var(--dim);max-width:70rem}
code,.mono{font-family:ui-monospace,"SFMono-Regular",Menlo,Consolas,monospace}
.controls{display:flex;flex-wrap:wrap;gap:.6rem 1.4rem;align-items:center;margin:.4rem 0 .8rem}
.controls label{display:inline-flex;gap:.45rem;align-items:center}
select{font:inherit;color:inherit;background:var(--panel);border:1px solid var(--line);border-radius:6px;padding:.2rem .4rem}
:focus-visible{outline:2px solid var(--accent);outline-offset:1px}
.legend{display:inline-flex;align-items:center;gap:.5rem;color:var(--dim);font-size:.85rem}
.legend>span{white-space:nowrap}
.legend .steps{display:inline-flex;border:1px solid var(--line);border-radius:4px;overflow:hidden}
.legend i{display:block;width:10px;height:14px}
.panel{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:.7rem .9rem;font-size:.88rem}
.panel h2{font-size:.95rem;margin:0 0 .4rem;overflow-wrap:anywhere}
.panel dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem .8rem;margin:0 0 .6rem}
.panel dt{color:var(--dim)}
.panel dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.panel table{border-collapse:collapse;width:100%}
.panel td{padding:.12rem .3rem .12rem 0;font-variant-numeric:tabular-nums;vertical-align:baseline}
.panel td.text{font-family:ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere;unicode-bidi:plaintext;text-align:left}
.panel td.number{text-align:right;white-space:nowrap}
.panel tr.final td.text{color:var(--accent);font-weight:600}
.panel svg{display:block;width:56px;height:8px}
.panel svg rect{fill:var(--bar)}
${rampStyle('light')}
@media (prefers-color-scheme:dark){${rampStyle('dark')}}
@media (forced-colors:active){[class^=c]{forced-color-adjust:none}}
`;

const COMMON_SCRIPT = `'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer;
const floats = text => text === undefined ? undefined : new Float32Array(bytes(text));
const words = text => text === undefined ? undefined : new Uint32Array(bytes(text));
const tokens = new Map(data.tokens);
const tokenText = id => tokens.get(id) ?? String(id);
const quoted = id => tokens.has(id) ? '"' + tokens.get(id) + '"' : String(id);
const STEPS = ${STEPS};
const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};
const number = x => Number.isFinite(x) ? (Math.abs(x) >= 1e-3 && Math.abs(x) < 1e6 || x === 0 ? String(Number(x.toPrecision(4))) : x.toExponential(2)) : String(x).replace('Infinity', '\\u221e');
const percent = logProb => {
  const p = 100 * Math.exp(logProb);
  return (p >= 0.01 || p === 0 ? p.toFixed(2) : p.toExponential(1)) + ' %';
};
/** A table of candidates, each with a bar as long as its probability. */
const candidates = (list, isFinal) => {
  const table = element('table');
  for (const [id, logProb] of list) {
    const row = table.appendChild(element('tr', undefined, isFinal(id) ? 'final' : ''));
    row.append(element('td', quoted(id), 'text'), element('td', percent(logProb), 'number'));
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    svg.setAttribute('viewBox', '0 0 56 8');
    svg.setAttribute('aria-hidden', 'true');
    const bar = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
    bar.setAttribute('width', String(Math.max(0.5, 56 * Math.exp(logProb))));
    bar.setAttribute('height', '8');
    svg.append(bar);
    row.appendChild(element('td')).append(svg);
  }
  return table;
};
const facts = list => {
  const dl = element('dl');
  for (const [name, value] of list) dl.append(element('dt', name), element('dd', value));
  return dl;
};
const legendSteps = () => {
  const steps = element('span', undefined, 'steps');
  steps.setAttribute('aria-hidden', 'true');
  for (let i = 0; i < STEPS; i++) steps.append(element('i', undefined, 'c' + i));
  return steps;
};
`;
