/** What something takes. */

/**
 * @param {() => Promise<unknown>} work
 * @returns seconds, of all CPUs together too, and the longest time that the event loop did nothing else
 */
export async function timed(work) {
  let block = 0;
  let last = performance.now();
  const look = () => {
    const now = performance.now();
    block = Math.max(block, now - last);
    last = now;
  };
  const timer = setInterval(look, 1);
  const cpu = process.cpuUsage();
  const start = performance.now();
  last = start;
  await work();
  const seconds = (performance.now() - start) / 1e3;
  const { user, system } = process.cpuUsage(cpu);
  look();
  clearInterval(timer);
  return { seconds, cpu: (user + system) / 1e6, block: block / 1e3 };
}
