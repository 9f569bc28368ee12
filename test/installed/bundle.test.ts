/** Bundled by esbuild, in the ways that docs/install.md shows. */
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type BuildOptions, build } from 'esbuild';
import { describe, expect, inject, it } from 'vitest';
import { project, run, USE, USED, write } from './project';

const runtimes = inject('runtimes').filter(({ name }) => !name.includes('emulated'));
const BANNER = {
  js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
};

async function bundle(folder: string, file: string, options: BuildOptions): Promise<string> {
  const entry = write('bundled.mjs', `import { capabilities, LMHead } from 'lmhead';${USE}`);
  const outfile = join(project, folder, file);
  const { warnings } = await build({
    entryPoints: [entry],
    bundle: true,
    platform: 'node',
    outfile,
    ...options,
  });
  expect(warnings).toEqual([]);
  return outfile;
}

describe.each(runtimes)('esbuild, run by $name', runtime => {
  it.each([
    ['CommonJS', { format: 'cjs' }, 'cjs'],
    ['ES modules', { format: 'esm', banner: BANNER }, 'mjs'],
  ] as const)('%s, the package installed beside the bundle', async (_, options, extension) => {
    const file = await bundle('bundled', `installed.${extension}`, options);
    expect(run(runtime, [file])).toMatch(USED);
  });

  it.each([
    ['CommonJS', { format: 'cjs', minify: true }, 'cjs'],
    ['ES modules', { format: 'esm', minify: true, banner: BANNER }, 'mjs'],
  ] as const)('%s, minified, alone with prebuilds/', async (_, options, extension) => {
    const folder = `../alone ${extension} ${runtime.name.replace(/\W/g, '-')}`;
    const file = await bundle(folder, `app.${extension}`, options);
    const prebuilds = join(project, 'node_modules/lmhead/prebuilds');
    cpSync(prebuilds, join(project, folder, 'prebuilds'), { recursive: true });
    expect(run(runtime, [file], { cwd: join(project, folder) })).toMatch(USED);
    rmSync(join(project, folder), { recursive: true });
  });

  it('leaves the package out where it is told to', async () => {
    const file = await bundle('bundled', 'external.mjs', { format: 'esm', external: ['lmhead'] });
    expect(run(runtime, [file])).toMatch(USED);
  });
});
