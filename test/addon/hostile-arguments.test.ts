import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nativeUnavailable } from '../../lib/backend/addon';

const script = join(__dirname, 'hostile-arguments.mjs');
const CALLS = 20_000;

describe.skipIf(nativeUnavailable())('the addon’s own functions', () => {
  it.each([1, 2, 3, 4, 5])('take hostile arguments, with a result or an LMHeadError (seed %i)', seed => {
    const arguments_ = ['--expose-gc', script, String(CALLS), String(seed)];
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, arguments_, { encoding: 'utf8' });
    expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
    console.log(stdout.trim());
  });
});
