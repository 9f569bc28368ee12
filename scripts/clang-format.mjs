// Checks the layout of the C++ files with clang-format; `--write` corrects it.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';

const root = new URL('..', import.meta.url);
const files = readdirSync(new URL('native', root), { recursive: true })
  .filter(file => /\.(cc|h|inc)$/.test(file))
  .map(file => `native/${file}`);
const mode = process.argv.includes('--write') ? ['-i'] : ['--dry-run', '--Werror'];
const { status, error } = spawnSync('clang-format', [...mode, ...files], { cwd: root, stdio: 'inherit' });
if (error) console.error(`clang-format: ${error.message}; it is in Debian's package clang-format`);
process.exit(status ?? 1);
