/** Bundlers, package managers and test runners, from their npm packages: fetched once, kept in .cache/tools. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { packageFolder } from '../support/processes';

const cache = join(packageFolder, '.cache/tools');

/** The path of a file of a package, which is installed in a folder of its own without running its scripts. */
export function tool(spec: string, file: string): string {
  const folder = join(cache, spec.replace(/[^\w.]+/g, '-'));
  if (!existsSync(folder)) {
    const unfinished = `${folder}.${process.pid}`;
    mkdirSync(unfinished, { recursive: true });
    execFileSync(
      'npm',
      [
        ...['install', '--prefix', unfinished, '--ignore-scripts', '--no-audit', '--no-fund', '--silent'],
        ...spec.split(' '),
      ],
      { stdio: 'inherit', shell: process.platform === 'win32' },
    );
    if (existsSync(folder)) rmSync(unfinished, { recursive: true });
    else renameSync(unfinished, folder);
  }
  return join(folder, 'node_modules', file);
}

/** What such a package exports to CommonJS. */
export function toolModule<T>(spec: string, name: string): T {
  const folder = tool(spec, '');
  return createRequire(join(folder, 'x.js'))(name) as T;
}
