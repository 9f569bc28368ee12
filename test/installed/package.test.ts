/** What is in the package, and what the tools that judge packages say of it. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, inject, it } from 'vitest';
import { packageFolder } from '../support/processes';
import { project } from './project';

const tarball = inject('tarball');
const installed = join(project, 'node_modules/lmhead');
const files = readdirSync(installed, { recursive: true, encoding: 'utf8' }).map(name =>
  name.replaceAll('\\', '/'),
);
const require = createRequire(__filename);

/** What a process in that folder says of LMHEAD_ISA. */
function kernelsOf(cwd: string, LMHEAD_ISA: string): string {
  const program = `
    const { LMHead } = require('lmhead');
    try {
      LMHead.from(new Float32Array(6), { vocabSize: 3, hiddenSize: 2, backend: 'native' });
      console.log('computes');
    } catch ({ code, message }) {
      console.log(code, message);
    }`;
  const env = { ...process.env, LMHEAD_ISA };
  return execFileSync(process.execPath, ['-e', program], { cwd, env, encoding: 'utf8' });
}
const NO_SUCH_KERNELS = /^ERR_LMHEAD_ISA LMHEAD_ISA: got 'amx-emulated'; this machine has (\w+, )*scalar\n$/;

describe('the package', () => {
  it('is smaller than 5 MB, with the binaries of all eight platforms too', () => {
    const size = statSync(tarball).size;
    // There are four for each CPU; those that are not here are taken to be as large as one that is.
    const sizes = (cpu: string) =>
      files
        .filter(name => name.endsWith('.node') && name.includes(`-${cpu}/`))
        .map(name => gzipSync(readFileSync(join(installed, name)), { level: 9 }).length);
    const largest = Math.max(...sizes('x64'), ...sizes('arm64'));
    const missing = (all: number[]) => (4 - all.length) * Math.max(...(all.length > 0 ? all : [largest]));
    const others = missing(sizes('x64')) + missing(sizes('arm64'));
    const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(2)} MB`;
    console.log(
      `packed: ${megabytes(size)}, ${files.length} files; about ${megabytes(size + others)} with all eight`,
    );
    expect(size + others).toBeLessThan(5e6);
  });

  it('has the binaries, what compiles them elsewhere, and no tests', () => {
    for (const name of [
      'CMakeLists.txt',
      'native/lmhead.gypi',
      'native/sources.json',
      'scripts/build-native.mjs',
      'LICENSE',
    ])
      expect(files).toContain(name);
    const present = readdirSync(join(packageFolder, 'prebuilds'));
    expect(present.length).toBeGreaterThan(0);
    for (const name of present) expect(files).toContain(`prebuilds/${name}`);
    expect(
      files.filter(name => /(^|\/)(test|tests|bench|build)\/|\.test\.|\.tsbuildinfo$/.test(name)),
    ).toEqual([]);
    for (const name of files.filter(name => name.endsWith('.node')))
      expect(readFileSync(join(installed, name)).includes('-emulated'), name).toBe(false);
    const { core, addon } = JSON.parse(
      readFileSync(join(installed, 'native/sources.json'), 'utf8'),
    ) as Record<string, string[]>;
    for (const name of [...core, ...addon]) expect(files).toContain(name);
  });

  it('runs no script when it is installed, and brings no other package', () => {
    const { scripts, gypfile, dependencies } = JSON.parse(
      readFileSync(join(installed, 'package.json'), 'utf8'),
    ) as {
      scripts: Record<string, string>;
      gypfile: boolean;
      dependencies?: object;
    };
    expect(dependencies).toBeUndefined();
    // Yarn compiles where it finds one.
    expect(files).not.toContain('binding.gyp');
    expect(Object.keys(scripts).filter(name => /^(pre|post)?install$/.test(name))).toEqual([]);
    expect(gypfile).toBe(false);
    expect(existsSync(join(installed, 'build'))).toBe(false);
  });

  it('has no kernels but those for hardware', () => {
    expect(kernelsOf(project, 'amx-emulated')).toMatch(NO_SUCH_KERNELS);
  });

  it('has no fault that publint finds', async () => {
    const { publint } = await import('publint');
    const { messages } = await publint({ pkgDir: installed, strict: true });
    expect(messages).toEqual([]);
  });

  it('gives every kind of resolution its types', () => {
    const attw = require
      .resolve('@arethetypeswrong/cli/package.json')
      .replace('package.json', 'dist/index.js');
    const said = execFileSync(process.execPath, [attw, tarball, '--format', 'json'], { encoding: 'utf8' });
    const { analysis } = JSON.parse(said) as { analysis: { problems: unknown[]; entrypoints: object } };
    expect(analysis.problems).toEqual([]);
    expect(Object.keys(analysis.entrypoints)).toContain('.');
  });

  it('brings the command lmhead', () => {
    const said = execFileSync(
      'npx',
      ['--no-install', 'lmhead', 'info', 'node_modules/lmhead/assets/tiny-lm.safetensors'],
      {
        cwd: project,
        encoding: 'utf8',
        shell: process.platform === 'win32',
      },
    );
    expect(said).toMatch(/^vocabulary +264 tokens$/m);
  });

  it('can be compiled where it is installed, with the node-gyp that npm brings', () => {
    // In a copy, since other tests run over this one.
    const modules = join(project, '../compiled here/node_modules');
    cpSync(join(project, 'node_modules'), modules, { recursive: true });
    rmSync(join(modules, 'lmhead/prebuilds'), { recursive: true });
    const shell = process.platform === 'win32';
    const build = execFileSync('npm', ['run', 'build:from-source'], {
      cwd: join(modules, 'lmhead'),
      encoding: 'utf8',
      shell,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    expect(build).toContain('compiling the native addon with node-gyp (no cmake-js here)');
    const program =
      "const { LMHead } = require('lmhead'); LMHead.from(new Float32Array(6), { vocabSize: 3, hiddenSize: 2, backend: 'native' }).backend";
    const backend = execFileSync(process.execPath, ['-p', program], {
      cwd: join(modules, '..'),
      encoding: 'utf8',
    });
    expect(backend).toBe('native\n');
    expect(kernelsOf(join(modules, '..'), 'amx-emulated')).toMatch(NO_SUCH_KERNELS);
  }, 900_000);

  it('is found by require.resolve without being opened', () => {
    const resolved = createRequire(join(project, 'x.js')).resolve('lmhead/package.json');
    expect(resolved).toBe(join(installed, 'package.json'));
  });
});
