/** Calls at once in random mixes, by each ISA: in a process of its own, as LMHEAD_ISA is read once. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { capabilities } from '../../lib';

/** @param total calls, of all ISAs together */
export function randomMixes(total: number): void {
  const isas = [
    ...capabilities().available,
    ...(capabilities().available.includes('avx512') ? ['amx-emulated'] : []),
  ];
  const CALLS = Math.ceil(total / isas.length);

  it.each(isas)(
    'calls at once are answered as each is alone, in random mixes: %s',
    isa => {
      const { status, signal, stdout, stderr } = spawnSync(
        process.execPath,
        [join(__dirname, 'random-mixes.mjs'), String(isas.indexOf(isa)), String(CALLS)],
        { encoding: 'utf8', env: { ...process.env, LMHEAD_ISA: isa } },
      );
      expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
      console.log(`${isa}: ${stdout.trim()}`);
      const counts = JSON.parse(stdout) as Record<string, number>;
      expect(counts.calls).toBeGreaterThanOrEqual(CALLS);
      // What happens seldom need not happen in few.
      const often = ['right', 'aborted', 'shared'];
      for (const kind of CALLS < 4000 ? often : [...often, 'failed', 'closed'])
        expect(counts[kind], kind).toBeGreaterThan(0);
      expect(counts.failed).toBeLessThan(counts.calls / 10);
      expect(counts.most).toBeGreaterThan(4);
    },
    300_000,
  );
}
