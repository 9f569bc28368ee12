/** A million calls of the addon's own functions, with arguments that lib/ would never give. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const script = join(__dirname, '../addon/hostile-arguments.mjs');

it('hostile arguments', () => {
  for (let seed = 1000; seed < 1020; seed++) {
    const { status, signal, stdout, stderr } = spawnSync(
      process.execPath,
      ['--expose-gc', script, '50000', String(seed)],
      { encoding: 'utf8' },
    );
    expect({ status, signal, stderr, seed }).toEqual({ status: 0, signal: null, stderr: '', seed });
    console.log(`seed ${seed}: ${stdout.trim()}`);
  }
});
