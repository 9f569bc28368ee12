// Compiles the addon into build/Release/lmhead.node: with cmake-js where CMake is found, else with node-gyp, and says which.
// `--with cmake-js` or `--with node-gyp` decides.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

const require = createRequire(import.meta.url);
const root = new URL('..', import.meta.url);

const { values } = parseArgs({ options: { with: { type: 'string' } } });
const found = command => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
const tool = values.with ?? (found('cmake') ? 'cmake-js' : 'node-gyp');
if (tool !== 'cmake-js' && tool !== 'node-gyp') {
  console.error(`--with: got '${tool}'; want cmake-js or node-gyp`);
  process.exit(2);
}

const reason = values.with ? 'as asked' : tool === 'cmake-js' ? 'CMake is here' : 'no CMake here';
console.log(`lmhead: compiling the native addon with ${tool} (${reason})`);
const script = require.resolve(tool === 'cmake-js' ? 'cmake-js/bin/cmake-js' : 'node-gyp/bin/node-gyp.js');
const options = tool === 'cmake-js' ? ['--parallel', '4'] : ['-j', 'max'];
// node-gyp downloads Node's headers even where they lie beside Node.
const prefix = dirname(dirname(process.execPath));
const headersAreHere = existsSync(join(prefix, 'include/node/node_api.h'));
if (tool === 'node-gyp' && headersAreHere && !process.env.npm_config_nodedir)
  options.push(`--nodedir=${prefix}`);
const { status } = spawnSync(process.execPath, [script, 'rebuild', ...options], {
  cwd: root,
  stdio: 'inherit',
});
if (status !== 0) console.error(`lmhead: ${tool} failed; docs: README, "Building from source"`);
process.exit(status ?? 1);
