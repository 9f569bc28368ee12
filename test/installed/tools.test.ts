/** The ways of bundling, tracing and running that docs/embedding-in-an-app.md shows; esbuild's are in bundle.test.ts. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it } from 'vitest';
import { project, run, USE, USED, write } from './project';
import { fetched } from './runtimes';
import { tool, toolModule } from './tools';

const node = { name: 'Node.js', command: [process.execPath] };
const IMPORT = `import { capabilities, LMHead } from 'lmhead';${USE}`;
const linux = process.platform === 'linux' && process.arch === 'x64';

function execute(args: string[], cwd = project): string {
  return execFileSync(process.execPath, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function spawn(args: string[]) {
  return spawnSync(process.execPath, args, {
    cwd: project,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** A folder outside the project, so that no node_modules is found from it, with prebuilds/ in it. */
function alone(name: string): string {
  const folder = join(dirname(project), 'alone', name);
  mkdirSync(folder, { recursive: true });
  cpSync(join(project, 'node_modules/lmhead/prebuilds'), join(folder, 'prebuilds'), { recursive: true });
  return folder;
}

it('@vercel/nft, and so Next.js and Vercel, copies the binaries with the code', async () => {
  const entry = write('traced.cjs', `const { capabilities, LMHead } = require('lmhead');${USE}`);
  const { nodeFileTrace } = toolModule<{
    nodeFileTrace(files: string[], options: object): Promise<{ fileList: Set<string> }>;
  }>('@vercel/nft@1.11.5', '@vercel/nft');
  const base = realpathSync(project);
  const { fileList } = await nodeFileTrace([entry], { base });
  const copy = join(dirname(project), 'traced');
  for (const file of fileList) {
    mkdirSync(dirname(join(copy, file)), { recursive: true });
    copyFileSync(join(base, file), join(copy, file));
  }
  expect(run(node, [join(copy, 'traced.cjs')], { cwd: copy })).toMatch(USED);
});

it.each([
  ['kept out', { externals: { lmhead: 'commonjs lmhead' } }],
  ['bundled, beside node_modules', {}],
])('webpack, %s', async (name, options) => {
  const webpack = toolModule<(config: object, done: (error: unknown, stats: WebpackStats) => void) => void>(
    'webpack@5.113.0',
    'webpack',
  );
  const path = join(project, 'webpacked');
  const filename = `${name.replace(/\W+/g, '-')}.cjs`;
  const config = {
    ...{ mode: 'production', target: 'node20', context: project, entry: write('webpacked.mjs', IMPORT) },
    ...{ output: { path, filename }, ...options },
  };
  const stats = await new Promise<WebpackStats>((resolve, reject) =>
    webpack(config, (error, result) => (error ? reject(error) : resolve(result))),
  );
  expect(stats.toJson({ errors: true }).errors).toEqual([]);
  expect(run(node, [join(path, filename)])).toMatch(USED);
});
interface WebpackStats {
  toJson(options: object): { errors: unknown[] };
}

it.each(['es', 'cjs'] as const)('rollup, %s, alone with prebuilds/', async format => {
  const spec =
    'rollup@4.68.8 @rollup/plugin-node-resolve@16.0.3 @rollup/plugin-commonjs@29.0.3 @rollup/plugin-json@6.1.0';
  const { rollup } = toolModule<{
    rollup(options: object): Promise<{ write(options: object): Promise<unknown> }>;
  }>(spec, 'rollup');
  const plugin = (name: string) =>
    toolModule<{ default: () => unknown }>(spec, `@rollup/plugin-${name}`).default();
  const plugins = [plugin('node-resolve'), plugin('commonjs'), plugin('json')];
  const file = join(alone(`rollup-${format}`), format === 'es' ? 'app.mjs' : 'app.cjs');
  const bundle = await rollup({ input: write('rolled.mjs', IMPORT), plugins, onwarn: () => {} });
  await bundle.write({ file, format });
  expect(run(node, [file], { cwd: dirname(file) })).toMatch(USED);
});

it('Vite, a server build', async () => {
  const { build } = (await import(pathToFileURL(tool('vite@8.4.0', 'vite/dist/node/index.js')).href)) as {
    build(options: object): Promise<unknown>;
  };
  await build({
    root: project,
    logLevel: 'error',
    build: { ssr: write('vited.mjs', IMPORT), outDir: 'vited', emptyOutDir: false },
  });
  const file = ['vited.mjs', 'vited.js'].map(name => join(project, 'vited', name)).find(existsSync)!;
  expect(run(node, [file])).toMatch(USED);
});

it.runIf(linux)('Bun build, alone with prebuilds/', () => {
  const bun = fetched('@oven/bun-linux-x64-baseline@latest', 'bin/bun');
  const folder = alone('bun');
  const entry = write('bunned.mjs', IMPORT);
  execFileSync(bun, ['build', entry, '--target=node', `--outfile=${join(folder, 'app.mjs')}`], {
    stdio: 'pipe',
  });
  expect(run(node, [join(folder, 'app.mjs')], { cwd: folder })).toMatch(USED);
});

it.runIf(linux)('Bun, a single executable beside prebuilds/', () => {
  const bun = fetched('@oven/bun-linux-x64-baseline@latest', 'bin/bun');
  const folder = alone('bun-executable');
  const entry = write('bunned.mjs', IMPORT);
  execFileSync(bun, ['build', entry, '--compile', `--outfile=${join(folder, 'app')}`], { stdio: 'pipe' });
  expect(run({ name: 'app', command: [join(folder, 'app')] }, [], { cwd: folder })).toMatch(USED);
});

it.runIf(linux)(
  'Node.js, a single executable beside prebuilds/',
  async () => {
    const { build } = await import('esbuild');
    const folder = alone('sea');
    const main = join(folder, 'app.cjs');
    await build({
      ...{ entryPoints: [write('single.mjs', IMPORT)], bundle: true, platform: 'node', format: 'cjs' },
      outfile: main,
    });
    const blob = join(folder, 'app.blob');
    writeFileSync(
      join(folder, 'sea.json'),
      JSON.stringify({ main, output: blob, disableExperimentalSEAWarning: true }),
    );
    execute(['--experimental-sea-config', 'sea.json'], folder);
    const app = join(folder, 'app');
    copyFileSync(process.execPath, app);
    const { inject: postject } = toolModule<{
      inject(file: string, resource: string, data: Buffer, options: object): Promise<void>;
    }>('postject@1.0.0-alpha.6', 'postject');
    await postject(app, 'NODE_SEA_BLOB', readFileSync(blob), {
      sentinelFuse: 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2',
    });
    expect(run({ name: 'app', command: [app] }, [], { cwd: folder })).toMatch(USED);
  },
  300_000,
);

it.runIf(linux)('Deno', () => {
  const deno = { name: 'Deno', command: [fetched('@deno/linux-x64-glibc@2.9.6', 'deno')] };
  const file = write('denoed.mjs', IMPORT);
  const permissions = ['--allow-ffi', '--allow-read', '--allow-env', '--allow-sys'];
  expect(run(deno, ['run', '--quiet', '--node-modules-dir=manual', ...permissions, file])).toMatch(USED);
});

it('Jest', () => {
  write(
    'jested.test.js',
    `const { LMHead, LMHeadError } = require('lmhead');
     test('works in its realm', () => {
       const head = LMHead.from(new Float32Array([1, 0, 0, 1, 1, 1]), { vocabSize: 3, hiddenSize: 2 });
       expect(head.backend).toBe('native');
       const { ids } = head.topKSync(new Float32Array([2, 1]), 2, { });
       expect(Array.from(ids)).toEqual([2, 0]);
       expect(() => head.topKSync(new Float32Array(3), 2)).toThrow(LMHeadError);
       expect(head.sampleSync(new Float32Array([2, 1]), { temperature: 0, logitBias: new Map([[1, 50]]) }).ids[0]).toBe(1);
       head.close();
     });`,
  );
  const jest = tool('jest@30.5.2', 'jest/bin/jest.js');
  const { stderr, status } = spawn(['--no-warnings', jest, '--rootDir', project, '--ci', 'jested']);
  expect(stderr).toContain('1 passed');
  expect(status).toBe(0);
});

it('a cluster, as PM2 starts one', () => {
  const file = write(
    'clustered.cjs',
    `const cluster = require('node:cluster');
     if (cluster.isPrimary) for (let i = 0; i < 2; i++) cluster.fork();
     else { const { capabilities, LMHead } = require('lmhead');${USE} setTimeout(() => process.exit(), 500); }`,
  );
  const lines = run(node, [file]).trim().split('\n');
  expect(lines.map(line => USED.test(`${line}\n`))).toEqual([true, true]);
});
