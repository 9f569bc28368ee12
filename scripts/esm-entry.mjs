// Writes the ES module entries of dist/. They hand on what the CommonJS entries export, so that `import` and `require` get one
// and the same LMHead and LMHeadError.
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const dist = new URL('../dist/', import.meta.url);
const require = createRequire(import.meta.url);

for (const entry of ['', 'onnx/', 'transformers/']) {
  const folder = new URL(entry, dist);
  // Loading an entry loads no binary: that happens at the first call that needs one.
  const names = Object.keys(require(fileURLToPath(new URL('index.js', folder)))).sort();
  const lines = [
    "import lmhead from './index.js';",
    '',
    ...names.map(name => `export const ${name} = lmhead.${name};`),
    '',
  ];
  writeFileSync(new URL('index.mjs', folder), lines.join('\n'));
  writeFileSync(new URL('index.d.mts', folder), "export * from './index.js';\n");
}
