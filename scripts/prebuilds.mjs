// Makes the binaries that lie in the package, prebuilds/<platform>-<arch>/lmhead[.<libc>].node: with prebuildify, which has
// scripts/prebuild-compile.mjs compile. By default for this machine, and on Linux x64 with glibc for arm64 too;
// `--arch x64,arm64` decides.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const prebuildify = createRequire(import.meta.url)('prebuildify');
const root = fileURLToPath(new URL('..', import.meta.url));

const { values } = parseArgs({ options: { arch: { type: 'string' } } });
const glibc = Boolean(process.report.getReport().header.glibcVersionRuntime);
const crossCompiles = process.platform === 'linux' && process.arch === 'x64' && glibc;
const byDefault = crossCompiles ? ['x64', 'arm64'] : [process.arch];

/** What is said where a CPU cannot be compiled for; nothing where it can. */
function obstacle(arch) {
  if (arch === process.arch) return undefined;
  if (!crossCompiles || arch !== 'arm64') return `this machine compiles for ${byDefault.join(' and ')}`;
  const { error } = spawnSync('aarch64-linux-gnu-g++', ['--version'], { stdio: 'ignore' });
  return error && "it takes Debian's package g++-aarch64-linux-gnu; `--arch x64` leaves it out";
}

function build(arch) {
  // Its own folder for each, so that build/ keeps what is under development.
  const cwd = `${root}build-prebuilds/${process.platform}-${arch}`;
  mkdirSync(cwd, { recursive: true });
  const node = command => `"${process.execPath}" "${fileURLToPath(new URL(command, import.meta.url))}"`;
  return new Promise((resolve, reject) => {
    prebuildify(
      {
        arch,
        cwd,
        out: root,
        name: 'lmhead',
        napi: true,
        targets: [process.versions.node], // by name only: Node-API binaries serve every version
        tagLibc: process.platform === 'linux',
        libc: glibc ? 'glibc' : 'musl',
        strip: true,
        stripBin: arch === process.arch ? 'strip' : 'aarch64-linux-gnu-strip',
        nodeGyp: node('prebuild-compile.mjs'),
        shell: true,
      },
      error => (error ? reject(error) : resolve()),
    );
  });
}

for (const arch of values.arch?.split(',') ?? byDefault) {
  const reason = obstacle(arch);
  if (reason) {
    console.error(`lmhead: no binary for ${process.platform}-${arch}: ${reason}`);
    process.exit(1);
  }
  await build(arch);
}
