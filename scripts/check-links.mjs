// Checks links: those of the repository's own Markdown files, and those of the documentation site in build-docs/, with their
// anchors. Links to other sites are left alone: a build must not depend on them.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const site = join(root, 'build-docs');
const base = process.env.DOCS_BASE ?? '/';
const MOST_SHOWN = 50;
const broken = [];
let links = 0;

const isElsewhere = link => /^([a-z][a-z\d+.-]*:|\/\/)/i.test(link);
const filesOf = (folder, ending) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith(ending))
    .map(name => join(folder, name));

/** As GitHub makes an anchor of a heading; the next ones of the same text get a number. */
function markdownAnchors(text) {
  const seen = new Map();
  return new Set(
    Array.from(text.matchAll(/^#+ (.*)$/gm), ([, heading]) => {
      const words = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
      const anchor = words.replace(/[^\p{L}\p{N}\-_ ]/gu, '').replaceAll(' ', '-');
      const count = seen.get(anchor) ?? 0;
      seen.set(anchor, count + 1);
      return count === 0 ? anchor : `${anchor}-${count}`;
    }),
  );
}

const proseOf = path => readFileSync(path, 'utf8').replace(/^```.*?^```/gms, '');

function checkMarkdown(path) {
  for (const [, link] of proseOf(path).matchAll(/\]\(([^)\s]+)\)/g)) {
    if (isElsewhere(link)) continue;
    links++;
    const [file, anchor] = link.split('#');
    const target = file === '' ? path : join(dirname(path), decodeURIComponent(file));
    const isThere =
      existsSync(target) &&
      (!anchor ||
        !target.endsWith('.md') ||
        markdownAnchors(proseOf(target)).has(decodeURIComponent(anchor)));
    if (!isThere) broken.push(`${relative(root, path)}: ${link}`);
  }
}

const ids = new Map();
function idsOf(page) {
  if (!ids.has(page)) {
    const found = readFileSync(page, 'utf8').matchAll(/\sid="([^"]*)"/g);
    ids.set(page, new Set(Array.from(found, ([, id]) => id)));
  }
  return ids.get(page);
}

/** The file that a server of static pages gives for a path. */
function served(path) {
  const isFile = file => existsSync(file) && statSync(file).isFile();
  return [path, `${path}.html`, join(path, 'index.html')].find(isFile);
}

function checkPage(page) {
  for (const [, link] of readFileSync(page, 'utf8').matchAll(/\s(?:href|src)="([^"]*)"/g)) {
    if (link === '' || isElsewhere(link)) continue;
    links++;
    const [path, anchor] = link.replaceAll('&amp;', '&').split('#');
    const isAbsolute = path.startsWith('/');
    const name = decodeURIComponent(isAbsolute ? path.slice(base.length) : path);
    let target = page;
    if (path !== '') target = served(join(isAbsolute ? site : dirname(page), name));
    const isThere =
      target !== undefined &&
      (!isAbsolute || path.startsWith(base)) &&
      (!anchor || idsOf(target).has(decodeURIComponent(anchor)));
    if (!isThere) broken.push(`${relative(root, page)}: ${link}`);
  }
}

for (const name of readdirSync(root)) if (name.endsWith('.md')) checkMarkdown(join(root, name));
for (const path of filesOf(join(root, 'docs'), '.md'))
  if (!relative(root, path).startsWith(join('docs', 'api'))) checkMarkdown(path);
for (const page of existsSync(site) ? filesOf(site, '.html') : []) checkPage(page);

for (const each of broken.slice(0, MOST_SHOWN)) console.error(`broken link: ${each}`);
console.log(`${links} links, ${broken.length} broken`);
process.exit(broken.length === 0 && links > 0 ? 0 : 1);
