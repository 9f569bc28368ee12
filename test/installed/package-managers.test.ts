/** Installed by other package managers than npm: no script runs, nothing is compiled, and it works. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, inject, it } from 'vitest';
import { project, USE, USED } from './project';
import { tool } from './tools';

const tarball = inject('tarball');

interface Manager {
  name: string;
  /** The npm package that has it, and its script there. */
  from: [spec: string, script: string];
  /** Configuration files beside package.json. */
  files?: Record<string, string>;
  install: string[];
  /** How it runs a script; by default Node.js does. */
  run?: string[];
  /** The folder of the installed package, where it is one. */
  modules?: string;
}

const yarn4 = (version: string, linker: string): Manager => ({
  name: `Yarn ${version}, ${linker}`,
  from: [`@yarnpkg/cli-dist@${version}`, '@yarnpkg/cli-dist/bin/yarn.js'],
  files: {
    '.yarnrc.yml': `nodeLinker: ${linker}\nenableGlobalCache: false\nenableImmutableInstalls: false\nenableTelemetry: false\nenableScripts: true\n`,
    'yarn.lock': '',
  },
  install: ['install'],
  run: ['node'],
  modules: linker === 'pnp' ? undefined : 'node_modules/lmhead',
});

const managers: Manager[] = [
  {
    name: 'Yarn 1',
    from: ['yarn@1.22.22', 'yarn/bin/yarn.js'],
    install: [
      'install',
      '--no-lockfile',
      '--no-progress',
      '--non-interactive',
      '--cache-folder',
      '.yarn-cache',
    ],
    modules: 'node_modules/lmhead',
  },
  yarn4('4.9.4', 'node-modules'),
  yarn4('4.9.4', 'pnp'),
  yarn4('4.18.1', 'pnp'),
  {
    name: 'pnpm 9',
    from: ['pnpm@9.8.0', 'pnpm/bin/pnpm.cjs'],
    install: ['install', '--store-dir', '.pnpm-store', '--no-lockfile'],
    modules: 'node_modules/lmhead',
  },
];

const PROGRAM = `const { capabilities, LMHead } = require('lmhead');${USE}
LMHead.open(require.resolve('lmhead/assets/tiny-lm.safetensors'), { mmap: false }).then(opened => console.log(opened.vocabSize));`;

it.each(managers)(
  '$name',
  ({ name, from: [spec, script], files = {}, install, run, modules }) => {
    const folder = join(dirname(project), name.replace(/\W+/g, '-'));
    mkdirSync(folder);
    const all = {
      'package.json': JSON.stringify({
        name: 'app',
        private: true,
        dependencies: { lmhead: `file:${tarball}` },
      }),
      'use.cjs': PROGRAM,
      ...files,
    };
    for (const [file, content] of Object.entries(all)) writeFileSync(join(folder, file), content);

    // A compiler that fails is one that must not be called.
    const env = {
      ...process.env,
      CXX: 'false',
      CC: 'false',
      NODE_OPTIONS: '',
      YARN_ENABLE_HARDENED_MODE: '0',
    };
    const execute = (args: string[]) =>
      execFileSync(process.execPath, args, {
        cwd: folder,
        env,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      });
    const manager = tool(spec, script);
    execute([manager, ...install]);
    const lines = execute([...(run ? [manager, ...run] : []), 'use.cjs'])
      .trim()
      .split('\n')
      .sort();
    expect(lines[0]).toBe('264');
    expect(`${lines[1]}\n`).toMatch(USED);
    if (modules) expect(existsSync(join(folder, modules, 'build'))).toBe(false);
  },
  300_000,
);
