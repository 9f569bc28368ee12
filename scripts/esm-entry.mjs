// Writes the ES module entry of dist/. It hands on what the CommonJS entry exports, so that `import` and `require` get one
// and the same LMHead and LMHeadError.
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const dist = new URL('../dist/', import.meta.url);
// Loading the entry loads no binary: that happens at the first call that needs one.
const names = Object.keys(createRequire(import.meta.url)(fileURLToPath(new URL('index.js', dist)))).sort();

const lines = [
  "import lmhead from './index.js';",
  '',
  ...names.map(name => `export const ${name} = lmhead.${name};`),
  '',
];
writeFileSync(new URL('index.mjs', dist), lines.join('\n'));
writeFileSync(new URL('index.d.mts', dist), "export * from './index.js';\n");
