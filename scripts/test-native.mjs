// Builds the C++ core and its tests without Node, in build-native/, and runs them. `--sanitize address,undefined` or
// `--sanitize thread` builds them with that; a last argument chooses the tests whose names contain it.
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';

const root = new URL('..', import.meta.url);
const { values, positionals } = parseArgs({
  options: { sanitize: { type: 'string' } },
  allowPositionals: true,
});

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) console.error(`lmhead: cannot run ${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

const sanitize = values.sanitize ?? '';
const folder = `build-native/${sanitize.replaceAll(',', '-') || 'plain'}`;
run('cmake', ['-S', '.', '-B', folder, `-DLMHEAD_SANITIZE=${sanitize}`]);
run('cmake', ['--build', folder, '--parallel', '4']);
run(`${folder}/lmhead_test`, positionals);
