/** How much a process grows while it does something again and again. Needs --expose-gc. */
import addon from '../../dist/backend/addon.js';
import limits from '../../dist/backend/roofline.js';

/** Bytes that a few rounds may differ by without a leak: heaps grow in steps, and not back at once. */
const ENOUGH = 2 ** 20;
const ROUNDS = 4;

/** What the process holds when all that can be collected has been: resident, and outside of V8's heap as far as V8 knows. */
export async function settled() {
  for (let i = 0; i < 4; i++) {
    gc();
    await new Promise(resolve => setImmediate(resolve));
  }
  const { rss, external } = process.memoryUsage();
  return { rss, external: addon.nativeUnavailable() ? external : limits.externalMemory() };
}

/**
 * The least that a round of work adds, of a few rounds: a leak shows in each of them.
 * @param {() => Promise<void>} round
 * @returns {Promise<{ rss: number, external: number }>} bytes
 */
export async function growth(round) {
  let least = { rss: Number.POSITIVE_INFINITY, external: Number.POSITIVE_INFINITY };
  for (let i = 0; i < ROUNDS && !(least.rss < ENOUGH && least.external < ENOUGH); i++) {
    const before = await settled();
    await round();
    const after = await settled();
    least = {
      rss: Math.min(least.rss, after.rss - before.rss),
      external: Math.min(least.external, after.external - before.external),
    };
  }
  return least;
}
