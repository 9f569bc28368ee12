/** The addon's own functions, past all checks of lib/: in processes of their own, as what would go wrong is a crash. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nativeUnavailable } from '../../lib/backend/addon';

/** @returns what the script says of its calls */
function run(script: string, ...given: number[]): string {
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    ['--expose-gc', join(__dirname, script), ...given.map(String)],
    { encoding: 'utf8' },
  );
  expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
  return stdout.trim();
}

describe.skipIf(nativeUnavailable())('the addon’s own functions', () => {
  it.each([1, 2, 3])('take hostile arguments, with a result or an LMHeadError (seed %i)', seed => {
    console.log(run('hostile-arguments.mjs', 10_000, seed));
  });

  it('take arrays in shared memory that another thread changes all the time', () => {
    console.log(run('racing-memory.mjs', 5000));
  });
});
