// Packs the package, installs it beside Electron, and runs it in Electron's main process. Electron's own package fetches its
// binary, so this is for machines that may: the workflow runs it.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'lmhead-electron-'));
const npm = (cwd, ...args) =>
  execFileSync('npm', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });

const [{ filename }] = JSON.parse(
  npm(root, 'pack', '--ignore-scripts', '--json', '--pack-destination', folder),
);
writeFileSync(join(folder, 'package.json'), '{ "name": "app", "private": true, "main": "main.cjs" }\n');
writeFileSync(
  join(folder, 'main.cjs'),
  `const { app } = require('electron');
   const { capabilities, LMHead } = require('lmhead');
   app.whenReady().then(async () => {
     const head = LMHead.from(new Float32Array([1, 0, 0, 1, 1, 1]), { vocabSize: 3, hiddenSize: 2, backend: 'native' });
     const { ids } = await head.topK(new Float32Array([2, 1]), 2);
     console.log(process.versions.electron, capabilities().isa, ids.join());
     await head[Symbol.asyncDispose]();
     app.exit(ids.join() === '2,0' ? 0 : 1);
   }).catch(error => {
     console.error(error);
     app.exit(1);
   });\n`,
);
npm(folder, 'install', '--ignore-scripts', `file:${join(folder, filename)}`);
npm(folder, 'install', 'electron');
const electron = join(folder, 'node_modules/.bin/electron');
execFileSync(electron, ['--no-sandbox', folder], { stdio: 'inherit', timeout: 120_000 });
rmSync(folder, { recursive: true });
