/** Packs the package and installs it, running no script, into an empty folder whose path has a space and letters beyond ASCII. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node' with { 'resolution-mode': 'import' };
import { packageFolder } from '../support/processes';
import { fetchRuntimes, type Runtime } from './runtimes';

declare module 'vitest' {
  interface ProvidedContext {
    /** The packed package. */
    tarball: string;
    /** The folder of a project that has it installed. */
    project: string;
    runtimes: Runtime[];
  }
}

export default function setup(context: TestProject) {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'lmhead-installed-')));
  const npm = (cwd: string, ...args: string[]) =>
    execFileSync('npm', args, {
      cwd,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
      shell: process.platform === 'win32',
    });

  // What is packed are dist/ and prebuilds/ as they lie there.
  const [{ filename }] = JSON.parse(
    npm(packageFolder, 'pack', '--ignore-scripts', '--json', '--pack-destination', folder),
  ) as [{ filename: string }];
  const tarball = join(folder, filename);
  const project = join(folder, 'a pröject, 试');
  mkdirSync(project);
  writeFileSync(join(project, 'package.json'), '{ "name": "consumer", "private": true }\n');
  npm(project, 'install', '--ignore-scripts', '--no-audit', '--no-fund', '--silent', `file:${tarball}`);

  context.provide('tarball', tarball);
  context.provide('project', project);
  context.provide('runtimes', fetchRuntimes());
  return () => rmSync(folder, { recursive: true, force: true });
}
