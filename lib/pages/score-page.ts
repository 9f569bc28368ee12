/** A text as a page, its tokens colored by how much each surprised the model. */
import { packed, page } from './page';

export interface ScorePageParts {
  title: string;
  /** [n] */
  targets: Uint32Array;
  /** [n] */
  logProbs: Float32Array;
  /** [n]; 0 where a target counts in nothing. */
  ranks: Uint32Array;
  /** [n] */
  entropy?: Float32Array;
  /** [n,k]: what was likelier. */
  k: number;
  ids: Uint32Array;
  topLogProbs: Float32Array;
  tokens: [id: number, text: string][];
  /** Ids whose text ends a line. */
  breaks: number[];
  /** Facts about all of it. */
  summary: string;
}

/** Bits of surprisal of the strongest color. */
const MOST_BITS = 16;

export function scorePage({ title, summary, entropy, ...parts }: ScorePageParts): string {
  const data = {
    ...{ title, summary, k: parts.k, tokens: parts.tokens, breaks: parts.breaks, most: MOST_BITS },
    ...{ targets: packed(parts.targets), logProbs: packed(parts.logProbs), ranks: packed(parts.ranks) },
    ...{ ids: packed(parts.ids), topLogProbs: packed(parts.topLogProbs) },
    ...(entropy ? { entropy: packed(entropy) } : {}),
  };
  return page({ title, style: STYLE, body: BODY, script: SCRIPT, data });
}

const STYLE = `
main{display:grid;grid-template-columns:minmax(0,1fr) 19rem;gap:20px;align-items:start}
#text{line-height:2;font-size:1.02rem;white-space:pre-wrap;overflow-wrap:anywhere;max-width:62rem}
#text.ids{white-space:normal}
#text span{border-radius:3px;padding:.18em 0;cursor:default}
#text.ids span{padding:.18em .3em;margin-right:.3em}
#text span.none{color:var(--dim);text-decoration:line-through}
#text span:hover,#text span:focus{outline:2px solid var(--accent);outline-offset:1px}
.panel{position:sticky;top:12px}
@media (max-width:760px){body{padding:12px}main{grid-template-columns:minmax(0,1fr)}.panel{top:auto;bottom:8px;z-index:5;max-height:34vh;overflow:auto;box-shadow:0 2px 12px rgb(0 0 0/.25)}}
`;

const BODY = `<h1 id="title"></h1>
<p id="summary"></p>
<div class="controls"><span class="legend" id="legend"></span></div>
<main>
<div id="text" role="group" aria-labelledby="title" aria-describedby="summary"></div>
<aside class="panel" id="details" aria-label="The token that is looked at"><h2>Point at a token, or move with the arrow keys</h2></aside>
</main>`;

const SCRIPT = `
const { k } = data;
const targets = words(data.targets), logProbs = floats(data.logProbs), ranks = words(data.ranks), entropy = floats(data.entropy);
const ids = words(data.ids), topLogProbs = floats(data.topLogProbs);
const breaks = new Set(data.breaks);
const text = document.getElementById('text'), details = document.getElementById('details');
document.getElementById('title').textContent = data.title;
document.getElementById('summary').textContent = data.summary;
document.getElementById('legend').append(element('span', 'surprisal 0'), legendSteps(), element('span', data.most + ' bits or more'));
if (tokens.size === 0) text.className = 'ids';
const bits = i => -logProbs[i] / Math.LN2;
const spans = [];
for (let i = 0; i < targets.length; i++) {
  const step = Math.max(0, Math.min(STEPS - 1, Math.floor(bits(i) / data.most * STEPS)));
  const span = element('span', tokenText(targets[i]), ranks[i] === 0 ? 'none' : 'c' + (Number.isNaN(step) ? 0 : step));
  span.tabIndex = -1;
  spans.push(span);
  text.append(span);
  if (breaks.has(targets[i])) text.append(element('br'));
}
const places = new Map(spans.map((span, i) => [span, i]));
let shown = -1;
const show = i => {
  if (i === shown) return;
  shown = i;
  const list = Array.from({ length: k }, (_, j) => [ids[i * k + j], topLogProbs[i * k + j]]);
  details.replaceChildren(
    element('h2', 'Position ' + i + ': ' + quoted(targets[i])),
    facts([
      ['id', String(targets[i])],
      ...(ranks[i] === 0 ? [['rank', 'counts in nothing']] : [
        ['rank', String(ranks[i])],
        ['probability', percent(logProbs[i])],
        ['surprisal', number(bits(i)) + ' bits'],
        ['log p', number(logProbs[i])],
        ...(entropy ? [['entropy', number(entropy[i]) + ' nats']] : []),
      ]),
    ]),
    candidates(list, id => id === targets[i]),
  );
};
let current = spans[0];
if (current) current.tabIndex = 0;
text.addEventListener('pointerover', event => { if (places.has(event.target)) show(places.get(event.target)); });
text.addEventListener('click', event => { if (places.has(event.target)) event.target.focus(); });
text.addEventListener('focusin', event => {
  if (!places.has(event.target)) return;
  current.tabIndex = -1;
  current.removeAttribute('aria-describedby');
  current = event.target;
  current.tabIndex = 0;
  show(places.get(current));
  current.setAttribute('aria-describedby', 'details');
});
text.addEventListener('keydown', event => {
  if (!places.has(event.target) || event.altKey || event.metaKey || event.ctrlKey) return;
  const i = places.get(event.target);
  const next = { ArrowRight: i + 1, ArrowDown: i + 10, ArrowLeft: i - 1, ArrowUp: i - 10, Home: 0, End: spans.length - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  spans[Math.max(0, Math.min(spans.length - 1, next))].focus();
});
`;
