// Builds the C++ core and its tests without Node, in build-native/, and runs them. `--sanitize address,undefined` or
// `--sanitize thread` builds them with that; `--toolchain linux-arm64` compiles them for another CPU and runs them under an
// emulator; `--emulate avx512` has a CPU with AVX2 run the kernels for AVX-512, by SIMDe (Debian: libsimde-dev); `--tables best`
// runs those for every kernel table with the best one alone; `--unity` compiles many files as one, which is faster where all are
// new; a last argument chooses the tests whose names contain it. One process per CPU, or `--shards` of them, run their shares.
import { spawn, spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { emulatorOf, mayHaveAvx512 } from './emulators.mjs';

const root = new URL('..', import.meta.url);
const { values, positionals } = parseArgs({
  options: {
    sanitize: { type: 'string' },
    toolchain: { type: 'string' },
    emulate: { type: 'string' },
    tables: { type: 'string', default: 'all' },
    unity: { type: 'boolean', default: false },
    shards: { type: 'string', default: String(availableParallelism()) },
  },
  allowPositionals: true,
});

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) console.error(`lmhead: cannot run ${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

const { sanitize = '', toolchain, emulate } = values;
if (toolchain !== undefined && !emulatorOf[toolchain]) {
  console.error(`--toolchain: got '${toolchain}'; want one of ${Object.keys(emulatorOf)}`);
  process.exit(2);
}
if (emulate !== undefined && emulate !== 'avx512') {
  console.error(`--emulate: got '${emulate}'; want avx512`);
  process.exit(2);
}
const kind = [toolchain, sanitize.replaceAll(',', '-'), emulate].filter(Boolean).join('-');
const folder = `build-native/${kind || 'plain'}`;
// Without sanitizers, the addon has the same objects of the core.
const unity = values.unity ? (sanitize ? 'all' : 'tests') : '';
const options = [`-DLMHEAD_SANITIZE=${sanitize}`, `-DLMHEAD_UNITY=${unity}`];
options.push(`-DLMHEAD_AVX512=${sanitize && !mayHaveAvx512 ? 'OFF' : 'ON'}`);
if (emulate) options.push('-DLMHEAD_EMULATE_AVX512=ON');
if (toolchain) options.push(`-DCMAKE_TOOLCHAIN_FILE=native/toolchains/${toolchain}.cmake`);
// With an emulator the objects are those of the addon, which asserts nothing: the core's own builds here do.
if (toolchain || emulate) options.push('-DLMHEAD_CHECKED=OFF');
run('cmake', ['-S', '.', '-B', folder, ...options]);
run('cmake', ['--build', folder, '--parallel', '4']);
const [command, ...leading] = [...(emulatorOf[toolchain] ?? []), `${folder}/lmhead_test`];
const counts = { passed: 0, failed: 0 };

/** Runs a share of the tests, forwards what it prints, and adds up its last line. */
function runShard(shard, shards) {
  const options = { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] };
  const child = spawn(
    command,
    [...leading, positionals[0] ?? '', `${shard}/${shards}`, values.tables],
    options,
  );
  createInterface({ input: child.stdout }).on('line', line => {
    const summary = /^(\d+) passed, (\d+) failed$/.exec(line);
    if (!summary) return console.log(line);
    counts.passed += Number(summary[1]);
    counts.failed += Number(summary[2]);
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status, signal) => resolve(signal ?? status));
  });
}

const shards = Number(values.shards);
const ends = await Promise.all(Array.from({ length: shards }, (_, i) => runShard(i, shards)));
for (const end of ends) if (end !== 0) console.log(`lmhead_test ended with ${end}`);
console.log(`${counts.passed} passed, ${counts.failed} failed`);
process.exit(ends.every(end => end === 0) && counts.passed > 0 ? 0 : 1);
