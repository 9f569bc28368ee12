/** Runs every program in README.md and docs/: what it prints is what stands below it. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = join(__dirname, '../..');
const pages = [
  'README.md',
  ...['docs', 'docs/recipes'].flatMap(where =>
    readdirSync(join(root, where))
      .filter(name => name.endsWith('.md'))
      .map(name => `${where}/${name}`),
  ),
];

/** A block of JavaScript, and the block of text right behind it, if there is one. */
const PROGRAM = /^```js\n(?<code>.*?)^```\n(?:\n```text\n(?<output>.*?)^```\n)?/gms;

let folder: string;
beforeAll(() => {
  // Inside the package, so that `import 'lmhead'` means this one; a folder of its own, as a reader's is.
  mkdirSync(join(root, '.cache'), { recursive: true });
  folder = mkdtempSync(join(root, '.cache/docs-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(pages)('%s', page => {
  const text = readFileSync(join(root, page), 'utf8');
  const programs = [...text.matchAll(PROGRAM)].map(({ groups, index }) => ({
    line: text.slice(0, index).split('\n').length + 1,
    code: groups!.code,
    output: groups!.output as string | undefined,
  }));

  it('has programs, and nothing that this test overlooks', () => {
    expect(programs.length).toBe(text.match(/^```js$/gm)?.length ?? 0);
    expect(text.match(/^```text$/gm)?.length ?? 0).toBe(
      programs.filter(({ output }) => output !== undefined).length,
    );
  });

  it.each(programs)('line $line', ({ line, code, output }) => {
    const file = join(folder, `${page.replace(/\W/g, '-')}-${line}.mjs`);
    writeFileSync(file, code);
    const printed = execFileSync(process.execPath, [file], { cwd: folder, encoding: 'utf8' });
    if (output !== undefined) expect(printed).toBe(output);
  });
});

it('the site’s front page has what README’s first screen has', () => {
  const [readme, front] = ['README.md', 'docs/index.md'].map(page => readFileSync(join(root, page), 'utf8'));
  const first = (pattern: RegExp) => {
    const found = readme.match(pattern)![0];
    expect(front).toContain(found);
  };
  first(/^```\ntext.*?^```\n/ms);
  first(new RegExp(PROGRAM, 'ms'));
  first(/^\| log-probabilities .*?\n\n/ms);
});
