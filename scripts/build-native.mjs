// Compiles the addon into build/Release/lmhead.node: with cmake-js where that is installed and CMake is found, else with node-gyp
// (npm's own, if there is no other), and says which. `--with cmake-js` or `--with node-gyp` decides. An installed package brings
// neither node-addon-api nor binding.gyp: the first is fetched by npm, the second written while node-gyp runs.
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const require = createRequire(import.meta.url);
const root = fileURLToPath(new URL('..', import.meta.url));

const { values } = parseArgs({ options: { with: { type: 'string' } } });
const found = command => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
const installed = file => {
  try {
    return require.resolve(file);
  } catch {
    return undefined;
  }
};
const scripts = {
  'cmake-js': installed('cmake-js/bin/cmake-js'),
  // Where this is an installed package, there is the one that npm brings for its scripts.
  'node-gyp': installed('node-gyp/bin/node-gyp.js') ?? process.env.npm_config_node_gyp,
};

const [choice, reason] = values.with
  ? [values.with, 'as asked']
  : !scripts['cmake-js']
    ? ['node-gyp', 'no cmake-js here']
    : found('cmake')
      ? ['cmake-js', 'CMake is here']
      : ['node-gyp', 'no CMake here'];
if (!Object.hasOwn(scripts, choice)) fail(2, `--with: got '${choice}'; want cmake-js or node-gyp`);
const script = scripts[choice];
if (!script) fail(1, `${choice} is not installed: npm install --no-save ${choice}`);
console.log(`lmhead: compiling the native addon with ${choice} (${reason})`);
const options = choice === 'cmake-js' ? ['--parallel', '4'] : ['-j', 'max'];
// node-gyp downloads Node's headers even where they lie beside Node.
const prefix = dirname(dirname(process.execPath));
const headersAreHere = existsSync(join(prefix, 'include/node/node_api.h'));
if (choice === 'node-gyp' && headersAreHere && !process.env.npm_config_nodedir)
  options.push(`--nodedir=${prefix}`);
const gyp = join(root, 'binding.gyp');
const writesGyp = choice === 'node-gyp' && !existsSync(gyp);
if (writesGyp) writeFileSync(gyp, '{ "includes": ["native/lmhead.gypi"] }\n');
const { status } = spawnSync(process.execPath, [script, 'rebuild', ...options], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, ...headersOfNodeAddonApi() },
});
// Yarn would compile wherever it finds one.
if (writesGyp) rmSync(gyp);
if (status !== 0)
  fail(status ?? 1, `${choice} failed; docs/install.md, "Building from source", says what it takes`);

/** What a child needs to require node-addon-api, whose headers an installed package lacks. */
function headersOfNodeAddonApi() {
  if (installed('node-addon-api/package.json')) return {};
  const version = require('../package.json').devDependencies['node-addon-api'];
  const prefix = join(root, 'build-tools');
  const { status } = spawnSync(
    'npm',
    [
      ...[
        'install',
        '--ignore-scripts',
        '--no-save',
        '--no-package-lock',
        '--no-audit',
        '--no-fund',
        '--silent',
      ],
      ...['--global=false', '--prefix', prefix, `node-addon-api@${version}`],
    ],
    { cwd: root, stdio: 'inherit', shell: process.platform === 'win32' },
  );
  if (status !== 0) fail(1, `node-addon-api is missing, and npm cannot fetch it: npm install node-addon-api`);
  return { NODE_PATH: join(prefix, 'node_modules') };
}

function fail(code, message) {
  console.error(`lmhead: ${message}`);
  process.exit(code);
}
