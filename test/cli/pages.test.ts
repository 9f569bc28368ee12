/** The pages of the commands, in a real browser: their numbers are the library's, and no token does anything. */
import { existsSync, readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import puppeteer, { type Browser, type Page } from 'puppeteer-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LMHead, LMHeadError, lensPage } from '../../lib';
import { secondsText } from '../../lib/cli/output';
import { bytesOf } from '../support/bytes';
import { llamaFolder } from '../support/cli-model';
import { lmhead } from '../support/command';
import { temporaryFolder } from '../support/folders';
import { npy } from '../support/npy';
import { someNumbers } from '../support/numbers';
import { HOSTILE } from '../support/tokenizers';

const V = 60;
const D = 16;
const LAYERS = 5;
const N = 7;
const folder = temporaryFolder();
const weight = someNumbers(V * D, 1);
const norm = { type: 'rmsnorm', weight: new Float32Array(D).fill(1), eps: 1e-5 } as const;
const head = LMHead.from(weight, { vocabSize: V, hiddenSize: D, norm });
const states = someNumbers(LAYERS * N * D, 2);
const last = states.slice((LAYERS - 1) * N * D);
const TARGETS = [0, 9, 10, 4, 8, 20, 3];
/** Every token is hostile. */
const texts = Array.from(
  { length: V },
  (_, id) => `${HOSTILE[id % HOSTILE.length]}${id < HOSTILE.length ? '' : id}`,
);
const paths = { model: '', layers: '', h: '', t: '', lens: '', score: '' };

const chromium = [process.env.CHROMIUM_PATH, '/usr/bin/chromium', '/usr/bin/chromium-browser'].find(
  path => path && existsSync(path),
);
let browser: Browser;

beforeAll(async () => {
  paths.model = llamaFolder(folder, V, D, weight, norm.weight, texts);
  paths.layers = folder.file('layers.npy', npy('<f4', [LAYERS, N, D], bytesOf(states)));
  paths.h = folder.file('h.npy', npy('<f4', [N, D], bytesOf(last)));
  paths.t = folder.file('t.npy', npy('<i4', [N], bytesOf(Int32Array.from(TARGETS))));
  paths.lens = folder.path('lens.html');
  paths.score = folder.path('score.html');
  const lens = [
    'lens',
    paths.model,
    '--hidden',
    paths.layers,
    '-k',
    '4',
    '--html',
    paths.lens,
    '--inputs',
    paths.t,
  ];
  expect(await lmhead(lens)).toMatchObject({
    code: 0,
    stdout: `${paths.lens}: ${LAYERS} layers × ${N} positions\n`,
  });
  const score = [
    'score',
    paths.model,
    '--hidden',
    paths.h,
    '--targets',
    paths.t,
    '--entropy',
    '--ignore-index',
    '20',
  ];
  expect((await lmhead([...score, '--html', paths.score])).code).toBe(0);
  if (chromium)
    browser = await puppeteer.launch({
      executablePath: chromium,
      args: ['--no-sandbox', '--disable-dev-shm-usage'],
      timeout: 120_000,
    });
  else console.log('no Chromium here (apt-get install chromium, or CHROMIUM_PATH): pages are not opened');
}, 180_000);
afterAll(() => browser?.close());

/** Opens a page, and closes it. Nothing is asked for, no error is said, and no token has run. */
async function opened(path: string, work: (page: Page) => Promise<void>): Promise<void> {
  const page = await browser.newPage();
  const said: string[] = [];
  page.on('console', message => said.push(message.text()));
  page.on('pageerror', error => said.push(String(error)));
  page.on('dialog', dialog => {
    said.push('a dialog');
    void dialog.dismiss();
  });
  const url = pathToFileURL(path).href;
  page.on('request', request => {
    if (request.url() !== url) said.push(request.url().slice(0, 100));
  });
  try {
    await page.goto(url);
    await work(page);
    expect(await page.evaluate('globalThis.hacked')).toBeUndefined();
    expect(said).toEqual([]);
  } finally {
    await page.close();
  }
}

const run = async <T>(page: Page, code: string) => (await page.evaluate(code)) as T;
const details = (page: Page) => run<string>(page, "document.getElementById('details').innerText");

describe('a page', () => {
  it('is one file, which lets nothing else run', () => {
    for (const path of [paths.lens, paths.score]) {
      const html = readFileSync(path, 'utf8');
      expect(html).toMatch(
        /<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-/,
      );
      expect(html).not.toMatch(/https?:(?!\/\/www\.w3\.org\/2000\/svg)/);
      const markup = html.replace(/<script type="application\/json"[\s\S]*?<\/script>/, '');
      expect(markup).not.toMatch(/ (?:src|href|onerror|style)=/);
      expect(html.match(/<script/g)).toHaveLength(2);
      expect(html.match(/<\/script/g)).toHaveLength(2);
      expect(html.length).toBeLessThan(60_000);
      // What acts on an editor or a terminal is in no page.
      expect(html).not.toMatch(/(?!\n)\p{Cc}|[\u202a-\u202e\u2066-\u2069]/u);
    }
  });
});

describe.skipIf(!chromium)('the lens, in Chromium', () => {
  it('shows what the head says of each cell', async () => {
    const best = head.lensSync(states, 4);
    const finals = head.argmaxSync(last, { norm: true });
    const targets = Array.from({ length: LAYERS * N }, (_, i) => finals[i % N]);
    const { ranks, entropy } = head.scoreSync(states, targets, { norm: true, entropy: true });
    await opened(paths.lens, async page => {
      const arrays = await run<Record<string, number[]>>(
        page,
        '({ ids: [...ids], logProbs: [...logProbs], logits: [...logits], ranks: [...ranks], entropy: [...entropy], kl: [...kl] })',
      );
      expect(arrays).toMatchObject({ ids: Array.from(best.ids), logProbs: Array.from(best.logProbs) });
      expect(arrays).toMatchObject({ logits: Array.from(best.logits), entropy: Array.from(entropy!) });
      expect(arrays.ranks).toEqual(Array.from(ranks));
      const [header, ...rows] = await run<string[][]>(
        page,
        "[...document.querySelectorAll('#grid tr')].map(row => [...row.cells].map(cell => cell.textContent))",
      );
      expect(header).toHaveLength(N + 1);
      expect(rows.map(([layer]) => layer)).toEqual(['4', '3', '2', '1', '0']);
      const threads = await run<boolean[]>(page, "cells.map(cell => cell.classList.contains('t'))");
      expect(threads).toEqual(targets.map((id, i) => best.ids[i * 4] === id));
      for (const i of [0, 8, LAYERS * N - 1]) {
        await run(page, `cells[${i}].dispatchEvent(new PointerEvent('pointerover', { bubbles: true }))`);
        const text = await details(page);
        expect(text).toContain(`Layer ${Math.floor(i / N)}, position ${i % N}`);
        expect(text).toMatch(new RegExp(`its rank here\\s+${ranks[i]}\\s`));
        for (let j = 0; j < 4; j++) {
          const p = 100 * Math.exp(best.logProbs[i * 4 + j]);
          expect(text).toContain(`${p >= 0.01 ? p.toFixed(2) : p.toExponential(1)} %`);
        }
      }
    });
  });

  it('is moved in by keys, and colored by choice', async () => {
    await opened(paths.lens, async page => {
      await page.focus('#grid td[tabindex="0"]');
      for (const key of ['ArrowRight', 'ArrowRight', 'ArrowDown', 'ArrowLeft'] as const)
        await page.keyboard.press(key);
      expect(await details(page)).toContain('Layer 3, position 1');
      await page.keyboard.down('Control');
      await page.keyboard.press('End');
      await page.keyboard.up('Control');
      expect(await details(page)).toContain(`Layer 0, position ${N - 1}`);
      await page.keyboard.press('ArrowRight');
      expect(await run<number>(page, 'document.querySelectorAll(\'#grid td[tabindex="0"]\').length')).toBe(1);
      const focused = "document.activeElement.getAttribute('aria-describedby')";
      expect(await run<string>(page, focused)).toBe('details');
      const classes = 'cells.map(cell => cell.className).join()';
      const seen = new Set<string>();
      for (const [i] of ['probability', 'entropy', 'rank', 'KL'].entries()) {
        await run(page, `by.selectedIndex = ${i}; by.dispatchEvent(new Event('change'))`);
        seen.add(await run<string>(page, classes));
      }
      expect(seen.size).toBe(4);
      await page.click('#thread');
      expect(await run<boolean>(page, "grid.classList.contains('thread')")).toBe(false);
    });
  });

  it('can be read in the light and in the dark', async () => {
    await opened(paths.lens, async page => {
      for (const value of ['light', 'dark']) {
        await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value }]);
        const worst = await run<number>(
          page,
          `(() => {
            const luminance = color => {
              const [r, g, b] = color.match(/[\\d.]+/g).map(c => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
              return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const contrast = element => {
              const { color, backgroundColor } = getComputedStyle(element);
              const [a, b] = [luminance(color), luminance(backgroundColor)].sort((x, y) => y - x);
              return (a + 0.05) / (b + 0.05);
            };
            return Math.min(...Array.from({ length: 16 }, (_, step) => {
              cells[0].className = 'c' + step;
              return contrast(cells[0]);
            }), contrast(details));
          })()`,
        );
        expect(worst).toBeGreaterThan(4.5);
      }
    });
  });

  it('has 48 layers of 200 positions, from lens alone', async () => {
    const [layers, positions] = [48, 200];
    const many = head.lensSync(someNumbers(layers * positions * D, 3), 2);
    const path = folder.file('large.html', lensPage(many, { positions, title: '<i>"48" × 200</i>' }));
    await opened(path, async page => {
      expect(await page.title()).toBe('<i>"48" × 200</i>');
      expect(await run<number>(page, 'cells.length')).toBe(layers * positions);
      expect(await run<string[]>(page, '[...by.options].map(option => option.textContent)')).toEqual([
        'probability of the best token',
      ]);
      // What is not shown of ids has no text.
      expect(await run<string>(page, 'cells[0].textContent')).toBe(String(many.ids[0]));
    });
  });
});

describe.skipIf(!chromium)('the scored text, in Chromium', () => {
  it('shows what the head says of each token', async () => {
    const { logProbs, ranks } = head.scoreSync(last, TARGETS, { ignoreIndex: 20 });
    const top = head.topKSync(last, 5);
    await opened(paths.score, async page => {
      const arrays = await run<Record<string, number[]>>(
        page,
        '({ logProbs: [...logProbs], ranks: [...ranks], ids: [...ids], topLogProbs: [...topLogProbs] })',
      );
      expect(arrays).toEqual({
        ...{ logProbs: Array.from(logProbs), ranks: Array.from(ranks) },
        ...{ ids: Array.from(top.ids), topLogProbs: Array.from(top.logProbs) },
      });
      expect(await run<number>(page, 'spans.length')).toBe(N);
      expect(await run<string>(page, 'spans[1].textContent')).toBe(HOSTILE[9]);
      await page.focus('#text span');
      await page.keyboard.press('ArrowRight');
      const text = await details(page);
      expect(text).toContain('Position 1: "</script>');
      expect(text).toMatch(new RegExp(`rank\\s+${ranks[1]}\\s`));
      await page.keyboard.press('End');
      expect(await details(page)).toContain(`Position ${N - 1}`);
      await run(page, "spans[5].dispatchEvent(new PointerEvent('pointerover', { bubbles: true }))");
      expect(await details(page)).toContain('counts in nothing');
      expect(await page.$eval('#summary', element => element.textContent)).toContain('7, of which 6 count');
    });
  });
});

describe.skipIf(!chromium)('the benchmark, in Chromium', () => {
  it('shows what it prints', async () => {
    const path = folder.path('bench.html');
    const args = ['bench', '--vocab', '500', '--size', '16', '--threads', '1', '--html', path, '--json'];
    const { code, stdout } = await lmhead(args);
    expect(code).toBe(0);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line));
    await opened(path, async page => {
      const rows = await run<string[][]>(
        page,
        "[...document.querySelectorAll('.all tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))",
      );
      expect(rows).toEqual(
        lines.map(({ method, positions, seconds }) => [
          ...[method, String(positions), secondsText(seconds.best), secondsText(seconds.median)],
          Math.round(positions / seconds.median).toLocaleString('en-US'),
        ]),
      );
      const scores = lines.filter(({ method }) => method === 'score').length;
      expect(await run<number>(page, "document.querySelectorAll('.roofline circle').length")).toBe(scores);
      expect(await run<number>(page, "document.querySelectorAll('.costs tbody tr').length")).toBe(8);
      expect(
        await run<string>(page, "document.querySelector('.costs tbody tr td:last-child').textContent"),
      ).toBe('1.00 ×');
    });
    expect(readFileSync(path, 'utf8')).not.toContain('NaN');
  });

  it('of plain JavaScript has no roof', async () => {
    const path = folder.path('reference.html');
    const args = ['bench', '--vocab', '50', '--size', '4', '--backend', 'reference', '--html', path];
    expect(await lmhead(args)).toMatchObject({ code: 0, stdout: `${path}: 21 measurements\n` });
    await opened(path, async page => {
      expect(await run<number>(page, "document.querySelectorAll('.roof').length")).toBe(0);
    });
  });
});

describe('lensPage', () => {
  const result = head.lensSync(states, 2);
  it.each<[string, () => string, string, RegExp]>([
    [
      'positions',
      () => lensPage(result, { positions: 4 }),
      'RANGE',
      /^positions: got 4 for 35 rows; want a divisor/,
    ],
    [
      'entropy',
      () => lensPage(result, { entropy: new Float32Array(3) }),
      'SHAPE',
      /^entropy: got 3 elements; want 35/,
    ],
    ['layerNames', () => lensPage(result, { layerNames: ['a'] }), 'SHAPE', /^layerNames: got 1; want 35/],
    [
      'result',
      () => lensPage({ ...result, k: 3 }),
      'SHAPE',
      /^result: got 70 ids and 70 logProbs for k = 3; want n·k/,
    ],
  ])('refuses wrong %s', (_, make, code, message) => {
    let error: unknown;
    try {
      make();
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(LMHeadError);
    expect(error).toMatchObject({ code: `ERR_LMHEAD_${code}`, message: expect.stringMatching(message) });
  });
});

describe('a wrong command line for a page', () => {
  it.each<[string, () => string[], number, RegExp]>([
    [
      'inputs for no page',
      () => ['lens', paths.model, '--hidden', paths.layers, '--inputs', paths.t],
      2,
      /^lmhead: lens: got --inputs without --html; want both/,
    ],
    [
      'inputs of another number',
      () => ['lens', paths.model, '--hidden', paths.h, '--inputs', paths.t, '--html', folder.path('x.html')],
      1,
      /^lmhead: ERR_LMHEAD_SHAPE: inputs: t\.npy is \[7\]; want \[1\]/,
    ],
    [
      'no place for it',
      () => ['lens', paths.model, '--hidden', paths.layers, '--html', folder.path('no/where.html')],
      1,
      /^lmhead: ERR_LMHEAD_IO: html: ENOENT/,
    ],
  ])('%s', async (_, args, code, message) => {
    const found = await lmhead(args());
    expect(found.stderr).toMatch(message);
    expect(found.code).toBe(code);
  });
});
