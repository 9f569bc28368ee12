// Builds the addon under AddressSanitizer and UBSan, in build-asan/, and runs test/asan/every-way.mjs over it. Linux with GCC.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const root = fileURLToPath(new URL('..', import.meta.url));

function run(command, args, options) {
  const { status, signal, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (error) console.error(`lmhead: cannot run ${command}: ${error.message}`);
  if (status !== 0) {
    console.error(`lmhead: ${args[0]} ended with ${signal ?? status}`);
    process.exit(status ?? 1);
  }
}

const cmakeJs = require.resolve('cmake-js/bin/cmake-js');
run(process.execPath, [
  cmakeJs,
  'compile',
  '-O',
  'build-asan',
  '--CDLMHEAD_SANITIZE=address,undefined',
  '--parallel',
  '4',
]);

// A package of its own, as the loader looks for the binary beside dist/.
const folder = `${root}.cache/asan`;
rmSync(folder, { recursive: true, force: true });
mkdirSync(`${folder}/build/Release`, { recursive: true });
for (const part of ['dist', 'package.json', 'assets', 'test/asan', 'test/memory/methods.mjs'])
  cpSync(`${root}${part}`, `${folder}/${part}`, { recursive: true });
cpSync(`${root}build-asan/Release/lmhead.node`, `${folder}/build/Release/lmhead.node`);

const runtime = execFileSync('g++', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
run(process.execPath, ['test/asan/every-way.mjs'], {
  cwd: folder,
  // Node's own leaks at exit are no business of ours.
  env: { ...process.env, LD_PRELOAD: runtime, ASAN_OPTIONS: 'detect_leaks=0:halt_on_error=1' },
});
