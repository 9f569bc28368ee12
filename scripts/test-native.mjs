// Builds the C++ core and its tests without Node, in build-native/, and runs them. `--sanitize address,undefined` or
// `--sanitize thread` builds them with that; `--toolchain linux-arm64` compiles them for another CPU and runs them under an
// emulator; a last argument chooses the tests whose names contain it.
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { emulatorOf } from './emulators.mjs';

const root = new URL('..', import.meta.url);
const { values, positionals } = parseArgs({
  options: { sanitize: { type: 'string' }, toolchain: { type: 'string' } },
  allowPositionals: true,
});

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) console.error(`lmhead: cannot run ${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

const { sanitize = '', toolchain } = values;
if (toolchain !== undefined && !emulatorOf[toolchain]) {
  console.error(`--toolchain: got '${toolchain}'; want one of ${Object.keys(emulatorOf)}`);
  process.exit(2);
}
const kind = [toolchain, sanitize.replaceAll(',', '-')].filter(Boolean).join('-');
const folder = `build-native/${kind || 'plain'}`;
const options = [`-DLMHEAD_SANITIZE=${sanitize}`];
if (toolchain) options.push(`-DCMAKE_TOOLCHAIN_FILE=native/toolchains/${toolchain}.cmake`);
run('cmake', ['-S', '.', '-B', folder, ...options]);
run('cmake', ['--build', folder, '--parallel', '4']);
const [command, ...leading] = [...(emulatorOf[toolchain] ?? []), `${folder}/lmhead_test`];
run(command, [...leading, ...positionals]);
