// What prebuildify runs in node-gyp's place, in the folder where it looks for build/Release/*.node: cmake-js, for a machine
// other than this one.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
const arch = process.env.PREBUILD_ARCH;

const options = [
  '--directory',
  root,
  '--out',
  resolve('build'),
  '--arch',
  arch,
  '--parallel',
  '4',
  '--CDLMHEAD_PORTABLE=ON',
  '--CDLMHEAD_TEST_KERNELS=OFF',
];
if (process.platform === 'linux' && arch !== process.arch)
  options.push(`--CDCMAKE_TOOLCHAIN_FILE=${root}native/toolchains/linux-${arch}.cmake`);
const { status } = spawnSync(process.execPath, [cmakeJs, 'rebuild', ...options], {
  cwd: root,
  stdio: 'inherit',
});
process.exit(status ?? 1);
