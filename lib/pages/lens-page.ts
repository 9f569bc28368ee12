/** The logit lens as a page: layers × positions, each cell the token that the layer has first. */
import { LMHeadError } from '../errors';
import { visible } from '../tokens/visible';
import type { TopK } from '../types';
import { packed, page } from './page';

/** What `lensPage` shows beside the k best. Arrays are [layers·positions], rows as in the result. */
export interface LensPageOptions {
  /** Positions of each layer: rows of the result are [layers, positions]. Default 1. */
  positions?: number | undefined;
  /** The text of an id; undefined where it has none. By default ids are shown. */
  token?: ((id: number) => string | undefined) | undefined;
  /** Entropies, in nats: of `run` with `entropy: true`. */
  entropy?: Float32Array | undefined;
  /** The rank of the last layer's best token, from 1: of `score` with that token as the target. */
  ranks?: Uint32Array | undefined;
  /** The Kullback-Leibler divergence to the last layer, in nats. */
  klDivergence?: Float32Array | undefined;
  /** What the layers are called, first to last. Default: their numbers. */
  layerNames?: readonly string[] | undefined;
  /** What the positions are called. Default: their numbers. */
  positionNames?: readonly string[] | undefined;
  /** What positions hold: the text of the model's input. */
  inputs?: readonly string[] | undefined;
  /** Default 'Logit lens'. */
  title?: string | undefined;
}

/** A token is shown at most that long. */
const LONGEST = 120;

/** The texts of ids, each once, as a page gets them. */
export function shownTokens(
  ids: Iterable<number>,
  token: ((id: number) => string | undefined) | undefined,
): [id: number, text: string][] {
  const shown: [number, string][] = [];
  if (!token) return shown;
  for (const id of new Set(ids)) {
    const text = token(id);
    if (text !== undefined) shown.push([id, visible(String(text), LONGEST)]);
  }
  return shown;
}

/**
 * A page of the logit lens: a table of layers × positions, colored by probability, entropy, rank of the final token or divergence from
 * the last layer, as the reader chooses; with the k best of a cell where the pointer or the focus is, and a thread through the layers
 * that have the final answer already. It is one file without a link to anything, for a browser to open from a disk.
 * @param result as `lens` returns it, of states [layers, positions]
 * @param options what is shown beside: texts of tokens, names, entropies, ranks, divergences
 * @returns HTML
 * @throws LMHeadError SHAPE, RANGE, ARGUMENT
 */
export function lensPage(result: TopK, options: LensPageOptions = {}): string {
  const { ids, logits, logProbs, k } = result;
  const { positions = 1, entropy, ranks, klDivergence, title = 'Logit lens' } = options;
  const n = k > 0 ? ids.length / k : 0;
  if (!Number.isInteger(n) || logProbs.length !== n * k || logits.length !== n * k)
    throw new LMHeadError(
      'SHAPE',
      `result: got ${ids.length} ids and ${logProbs.length} logProbs for k = ${k}; want n·k of each`,
    );
  if (!Number.isInteger(positions) || positions < 1 || n % positions !== 0)
    throw new LMHeadError('RANGE', `positions: got ${positions} for ${n} rows; want a divisor of that`);
  for (const [name, array] of Object.entries({ entropy, ranks, klDivergence })) {
    if (array !== undefined && array.length !== n)
      throw new LMHeadError(
        'SHAPE',
        `${name}: got ${array.length} elements; want ${n}, one per row of the result`,
      );
  }
  const layers = n / positions;
  const names = (given: readonly string[] | undefined, count: number, name: string) => {
    if (given === undefined) return Array.from({ length: count }, (_, i) => String(i));
    if (given.length !== count) throw new LMHeadError('SHAPE', `${name}: got ${given.length}; want ${count}`);
    return given.map(text => visible(String(text), LONGEST));
  };
  const data = {
    ...{ layers, positions, k, ids: packed(ids), logProbs: packed(logProbs), logits: packed(logits) },
    ...(entropy ? { entropy: packed(entropy) } : {}),
    ...(ranks ? { ranks: packed(ranks) } : {}),
    ...(klDivergence ? { klDivergence: packed(klDivergence) } : {}),
    layerNames: names(options.layerNames, layers, 'layerNames'),
    positionNames: names(options.positionNames, positions, 'positionNames'),
    ...(options.inputs ? { inputs: names(options.inputs, positions, 'inputs') } : {}),
    tokens: shownTokens(ids, options.token),
    title: visible(title, 4 * LONGEST),
  };
  return page({ title: data.title, style: STYLE, body: BODY, script: SCRIPT, data });
}

const STYLE = `
main{display:grid;grid-template-columns:minmax(0,1fr) 19rem;gap:16px;align-items:start}
.scroll{overflow:auto;max-height:calc(100vh - 11rem);min-height:16rem;border:1px solid var(--line);border-radius:8px}
#grid{border-collapse:separate;border-spacing:0;table-layout:fixed;width:max-content;font-size:12px;line-height:1.3}
#grid th,#grid td{width:76px;min-width:76px;max-width:76px;height:22px;padding:0 5px;overflow:hidden;text-overflow:ellipsis;border-right:1px solid var(--ground);border-bottom:1px solid var(--ground)}
#grid td{scroll-margin:44px 4px 4px 64px;white-space:pre;unicode-bidi:plaintext;text-align:left;cursor:default}
#grid th{background:var(--panel);color:var(--dim);font-weight:500;position:sticky;z-index:1;white-space:pre}
#grid thead th{top:0;height:auto;vertical-align:bottom;z-index:2;border-bottom:1px solid var(--line)}
#grid thead th b{display:block;color:var(--ink);font-weight:500;overflow:hidden;text-overflow:ellipsis;unicode-bidi:plaintext}
#grid tbody th{left:0;width:58px;min-width:58px;max-width:58px;text-align:right;border-right:1px solid var(--line)}
#grid thead th:first-child{left:0;width:58px;min-width:58px;max-width:58px;z-index:3;text-align:right}
#grid.thread td.t{box-shadow:inset 3px 0 0 var(--accent)}
#grid.thread td.u{background-image:linear-gradient(var(--accent) 50%,transparent 50%);background-size:2px 6px;background-repeat:repeat-y}
#grid td:hover,#grid td:focus{outline:2px solid var(--accent);outline-offset:-2px}
.panel{position:sticky;top:12px}
.key{display:inline-block;width:3px;height:1em;background:var(--accent);vertical-align:-.15em}
@media (max-width:760px){body{padding:12px}main{grid-template-columns:minmax(0,1fr)}.scroll{max-height:38vh;min-height:10rem}.panel{top:auto;bottom:8px;z-index:5;max-height:34vh;overflow:auto;box-shadow:0 2px 12px rgb(0 0 0/.25)}}
`;

const BODY = `<h1 id="title"></h1>
<p id="summary"></p>
<div class="controls">
<label>Color <select id="by"></select></label>
<span class="legend" id="legend"></span>
<label><input type="checkbox" id="thread" checked> <span class="key" aria-hidden="true"></span> thread of the final answer</label>
</div>
<main>
<div class="scroll"><table id="grid" role="grid" class="thread" aria-labelledby="title" aria-describedby="summary"></table></div>
<aside class="panel" id="details" aria-label="The cell that is looked at"><h2>Point at a cell, or move with the arrow keys</h2></aside>
</main>`;

const SCRIPT = `
const { layers, positions, k } = data;
const ids = words(data.ids), logProbs = floats(data.logProbs), logits = floats(data.logits);
const entropy = floats(data.entropy), ranks = words(data.ranks), kl = floats(data.klDivergence);
const grid = document.getElementById('grid'), details = document.getElementById('details');
document.getElementById('title').textContent = data.title;
const finalOf = position => ids[((layers - 1) * positions + position) * k];
const plural = (n, word) => n + ' ' + word + (n === 1 ? '' : 's');
document.getElementById('summary').textContent = plural(layers, 'layer') + ', the last on top, and ' + plural(positions, 'position') +
  '. A cell is the token that the layer has first; the deeper its color, the more settled it is.';
/** What colors a cell: from 0 (pale) to 1. */
const max = array => array.reduce((most, x) => Number.isFinite(x) && x > most ? x : most, 0);
const kinds = [['probability', 'of the best token', i => Math.exp(logProbs[i * k]), ['0 %', '100 %']]];
if (entropy) {
  const most = max(entropy) || 1;
  kinds.push(['entropy', 'of the distribution', i => 1 - entropy[i] / most, [number(most) + ' nats', '0']]);
}
if (ranks) {
  const most = Math.log(max(ranks)) || 1;
  kinds.push(['rank', 'of the final token', i => 1 - Math.log(ranks[i]) / most, [number(max(ranks)), '1']]);
}
if (kl) {
  const most = Math.sqrt(max(kl)) || 1;
  kinds.push(['KL', 'divergence to the last layer', i => 1 - Math.sqrt(kl[i]) / most, [number(max(kl)) + ' nats', '0']]);
}
const cells = [];
const header = grid.appendChild(element('thead')).appendChild(element('tr'));
const corner = header.appendChild(element('th', 'layer'));
corner.scope = 'col';
for (let position = 0; position < positions; position++) {
  const th = header.appendChild(element('th'));
  th.scope = 'col';
  if (data.inputs) th.append(element('b', data.inputs[position]));
  th.append(data.positionNames[position]);
}
const body = grid.appendChild(element('tbody'));
for (let layer = layers - 1; layer >= 0; layer--) {
  const row = body.appendChild(element('tr'));
  row.appendChild(element('th', data.layerNames[layer])).scope = 'row';
  for (let position = 0; position < positions; position++) {
    const i = layer * positions + position;
    const cell = element('td', tokenText(ids[i * k]));
    cell.tabIndex = -1;
    cells[i] = row.appendChild(cell);
  }
}
const paint = () => {
  const [, , value] = kinds[by.selectedIndex];
  for (let i = 0; i < cells.length; i++) {
    const x = value(i);
    const step = Number.isNaN(x) ? 0 : Math.max(0, Math.min(STEPS - 1, Math.floor(x * STEPS)));
    const wanted = finalOf(i % positions);
    const best = ids.subarray(i * k, i * k + k);
    cells[i].className = 'c' + step + (best[0] === wanted ? ' t' : best.includes(wanted) ? ' u' : '');
  }
  const [, , , [low, high]] = kinds[by.selectedIndex];
  document.getElementById('legend').replaceChildren(element('span', low), legendSteps(), element('span', high));
};
const by = document.getElementById('by');
for (const [name, of] of kinds) by.append(element('option', name + ' ' + of));
by.addEventListener('change', paint);
document.getElementById('thread').addEventListener('change', event => grid.classList.toggle('thread', event.target.checked));
paint();
let shown = -1;
const show = i => {
  if (i === shown) return;
  shown = i;
  const layer = Math.floor(i / positions), position = i % positions;
  const wanted = finalOf(position);
  const list = Array.from({ length: k }, (_, j) => [ids[i * k + j], logProbs[i * k + j]]);
  details.replaceChildren(
    element('h2', 'Layer ' + data.layerNames[layer] + ', position ' + data.positionNames[position]),
    facts([
      ...(data.inputs ? [['input', '"' + data.inputs[position] + '"']] : []),
      ['final answer', quoted(wanted)],
      ...(ranks ? [['its rank here', String(ranks[i])]] : []),
      ['best logit', number(logits[i * k])],
      ...(entropy ? [['entropy', number(entropy[i]) + ' nats']] : []),
      ...(kl ? [['KL to last', number(kl[i]) + ' nats']] : []),
    ]),
    candidates(list, id => id === wanted),
  );
};
const placeOf = cell => {
  const row = cell.parentElement;
  return (layers - row.rowIndex) * positions + cell.cellIndex - 1;
};
grid.addEventListener('pointerover', event => {
  const cell = event.target.closest('td');
  if (cell) show(placeOf(cell));
});
let current = layers > 0 ? cells[(layers - 1) * positions] : undefined;
if (current) current.tabIndex = 0;
grid.addEventListener('focusin', event => {
  const cell = event.target.closest('td');
  if (!cell) return;
  current.tabIndex = -1;
  current.removeAttribute('aria-describedby');
  current = cell;
  current.tabIndex = 0;
  show(placeOf(cell));
  current.setAttribute('aria-describedby', 'details');
});
grid.addEventListener('click', event => event.target.closest('td')?.focus());
grid.addEventListener('keydown', event => {
  const cell = event.target.closest('td');
  if (!cell || event.altKey || event.metaKey) return;
  const i = placeOf(cell);
  let layer = Math.floor(i / positions), position = i % positions;
  const all = event.ctrlKey;
  switch (event.key) {
    case 'ArrowUp': layer += 1; break;
    case 'ArrowDown': layer -= 1; break;
    case 'ArrowLeft': position -= 1; break;
    case 'ArrowRight': position += 1; break;
    case 'Home': position = 0; if (all) layer = layers - 1; break;
    case 'End': position = positions - 1; if (all) layer = 0; break;
    case 'PageUp': layer += 10; break;
    case 'PageDown': layer -= 10; break;
    default: return;
  }
  event.preventDefault();
  layer = Math.max(0, Math.min(layers - 1, layer));
  position = Math.max(0, Math.min(positions - 1, position));
  const next = cells[layer * positions + position];
  next.focus({ preventScroll: true });
  // Headings stand in front of what is at the edge.
  next.scrollIntoView({ block: 'nearest', inline: 'nearest' });
});
`;
