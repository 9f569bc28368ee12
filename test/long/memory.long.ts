/** A million calls of every method, ten thousand heads of every kind. LMHEAD_MEMORY_CALLS says how many calls, for a trial. */
import { describeFlatMemory } from '../memory/flat';

const CALLS = Number(process.env.LMHEAD_MEMORY_CALLS ?? 1_000_000);

for (const backend of ['native', 'reference'] as const)
  describeFlatMemory(backend, CALLS, CALLS / 100, 4 * 3600_000);
