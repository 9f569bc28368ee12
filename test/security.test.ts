/** What SECURITY.md promises of the package, and that the tests which it names are there. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const root = join(__dirname, '..');

function textOf(file: string): string {
  return readFileSync(join(root, file), 'utf8');
}

/** Those below a folder whose names end so. */
function filesOf(folder: string, ...ends: string[]): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter(name => ends.some(end => name.endsWith(end)))
    .map(name => join(folder, name));
}

it('SECURITY.md names tests that there are', () => {
  const named = [...textOf('SECURITY.md').matchAll(/`(test\/[^`]+)`/g)].map(([, file]) => file);
  expect(named.length).toBeGreaterThan(10);
  expect(named.filter(file => !existsSync(join(root, file)))).toEqual([]);
  const scripts = [...textOf('SECURITY.md').matchAll(/`npm run ([^`]+)`/g)].map(([, name]) => name);
  expect(Object.keys(JSON.parse(textOf('package.json')).scripts)).toEqual(expect.arrayContaining(scripts));
});

it('nothing of the package opens a network connection', () => {
  const network =
    /(from|import|require)[ (]*'(node:)?(https?|http2|net|tls|dgram|dns|inspector)['/]|\b(fetch|WebSocket)\(/;
  for (const file of filesOf('lib', '.ts')) expect(textOf(file), file).not.toMatch(network);
  const sockets = /\b(socket|connect|getaddrinfo|WSAStartup)\s*\(/;
  for (const file of filesOf('native', '.cc', '.h')) expect(textOf(file), file).not.toMatch(sockets);
});

it('releases are published with provenance, by actions that are pinned by hash', () => {
  expect(textOf('.github/workflows/release.yml')).toMatch(/npm publish .*--provenance/);
  for (const file of filesOf('.github/workflows', '.yml')) {
    const actions = [...textOf(file).matchAll(/uses: (\S+)/g)].map(([, action]) => action);
    const loose = actions.filter(action => !action.startsWith('./') && !/@[0-9a-f]{40}$/.test(action));
    expect(loose, file).toEqual([]);
  }
});
