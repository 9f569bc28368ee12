/** How many threads a head uses when it isn't told. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { LMHeadError } from '../errors';

/** A file's text, or nothing where it can't be read. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** CPUs that a Linux control group grants this process, or Infinity. */
function cgroupQuota(): number {
  if (process.platform !== 'linux') return Number.POSITIVE_INFINITY;
  let quota = Number.POSITIVE_INFINITY;
  // Version 2: "max 100000" or "150000 100000", in the process's own group and in those above it.
  const own = read('/proc/self/cgroup')?.match(/^0::(\/.*)$/m)?.[1] ?? '/';
  for (let group = own; ; group = group.slice(0, group.lastIndexOf('/'))) {
    const [limit, period] = (read(`/sys/fs/cgroup${group}/cpu.max`) ?? '').split(' ').map(Number);
    if (limit > 0 && period > 0) quota = Math.min(quota, limit / period);
    if (group === '' || group === '/') break;
  }
  // Version 1.
  const limit = Number(read('/sys/fs/cgroup/cpu/cpu.cfs_quota_us'));
  const period = Number(read('/sys/fs/cgroup/cpu/cpu.cfs_period_us'));
  if (limit > 0 && period > 0) quota = Math.min(quota, limit / period);
  return quota;
}

let byDefault: number | undefined;

/** LMHEAD_THREADS, or what affinity and control group leave to this process. Throws RANGE for a bad LMHEAD_THREADS. */
export function defaultThreads(): number {
  const asked = process.env.LMHEAD_THREADS;
  if (asked) {
    const threads = Number(asked);
    if (!Number.isInteger(threads) || threads < 1 || threads > 1024)
      throw new LMHeadError('RANGE', `LMHEAD_THREADS: got '${asked}'; want an integer from 1 to 1024`);
    return threads;
  }
  byDefault ??= Math.max(1, Math.min(availableParallelism(), Math.ceil(cgroupQuota()), 1024));
  return byDefault;
}
