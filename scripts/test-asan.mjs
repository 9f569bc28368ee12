// Builds the addon under AddressSanitizer and UBSan, in build-asan/, so that its allocations can be made to fail, and runs over it what is in
// test/asan/ and test/addon/. Linux with GCC. The last line is `N passed, N failed`.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { mayHaveAvx512 } from './emulators.mjs';

const require = createRequire(import.meta.url);
const root = fileURLToPath(new URL('..', import.meta.url));

function run(command, args, options) {
  const { status, signal, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (error) console.error(`lmhead: cannot run ${command}: ${error.message}`);
  if (status !== 0) console.error(`lmhead: ${args.join(' ')} ended with ${signal ?? status}`);
  return status === 0;
}

const cmakeJs = require.resolve('cmake-js/bin/cmake-js');
const options = [
  '-O',
  'build-asan',
  '--CDLMHEAD_SANITIZE=address,undefined',
  '--CDLMHEAD_FAULTS=ON',
  '--CDLMHEAD_UNITY=all',
  `--CDLMHEAD_AVX512=${mayHaveAvx512 ? 'ON' : 'OFF'}`,
  '--parallel',
  '4',
];
if (!run(process.execPath, [cmakeJs, 'compile', ...options])) process.exit(1);

// A package of its own, as the loader looks for the binary beside dist/.
const folder = `${root}.cache/asan`;
rmSync(folder, { recursive: true, force: true });
mkdirSync(`${folder}/build/Release`, { recursive: true });
for (const part of [
  'dist',
  'package.json',
  'assets',
  'test/asan',
  'test/addon',
  'test/stress',
  'test/memory/methods.mjs',
])
  cpSync(`${root}${part}`, `${folder}/${part}`, { recursive: true });
cpSync(`${root}build-asan/Release/lmhead.node`, `${folder}/build/Release/lmhead.node`);

const runtime = execFileSync('g++', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
const programs = [
  ['test/asan/every-way.mjs'],
  ['test/asan/faults.mjs'],
  ['test/stress/hostile.mjs', '30000', '1000000'],
  ['test/stress/terminated.mjs', '50', '1000'],
  ...[1, 2, 3].map(seed => ['--expose-gc', 'test/addon/hostile-arguments.mjs', '10000', String(seed)]),
  ['test/addon/racing-memory.mjs', '1000'],
];
const results = programs.map(program =>
  run(process.execPath, program, {
    cwd: folder,
    // Node's own leaks at exit are no business of ours.
    env: { ...process.env, LD_PRELOAD: runtime, ASAN_OPTIONS: 'detect_leaks=0:halt_on_error=1' },
  }),
);
const passed = results.filter(Boolean).length;
console.log(`${passed} passed, ${results.length - passed} failed`);
process.exitCode = passed === results.length ? 0 : 1;
