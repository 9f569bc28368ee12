// Writes the ES module entries of dist/. They hand on what the CommonJS entries export, so that `import` and `require` get one
// and the same LMHead and LMHeadError.
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

for (const folder of ['../dist/', '../dist/onnx/']) {
  const dist = new URL(folder, import.meta.url);
  // Loading an entry loads no binary: that happens at the first call that needs one.
  const names = Object.keys(createRequire(import.meta.url)(fileURLToPath(new URL('index.js', dist)))).sort();

  const lines = [
    "import lmhead from './index.js';",
    '',
    ...names.map(name => `export const ${name} = lmhead.${name};`),
    '',
  ];
  writeFileSync(new URL('index.mjs', dist), lines.join('\n'));
  writeFileSync(new URL('index.d.mts', dist), "export * from './index.js';\n");
}
