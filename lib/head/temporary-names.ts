/** Names of files that are being written, which tell whether the process that writes them still does. */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

const NAME = /^\.lmhead-([0-9a-f]{8})-([1-9]\d{0,9})-([0-9a-f]{8})-[0-9a-f]{12}\.tmp$/;

/** A name of this process's own, of at most 53 bytes. */
export function temporaryName(): string {
  const random = randomBytes(6).toString('hex');
  return `.lmhead-${whereProcessIdsCount()}-${process.pid}-${startOf(process.pid)}-${random}.tmp`;
}

/** Is that the name of a temporary file whose process has ended? False where it can't be told, as of another machine's. */
export function isAbandoned(name: string): boolean {
  const [, where, pid, start] = NAME.exec(name) ?? [];
  if (where === undefined || where !== whereProcessIdsCount()) return false;
  try {
    process.kill(Number(pid), 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return true;
  }
  // Someone has that id, perhaps another than then.
  const now = startOf(Number(pid));
  return now !== UNKNOWN && now !== start;
}

let where: string | undefined;

/** Process ids count on one machine, and there in one container: folders are shared by several of either. */
function whereProcessIdsCount(): string {
  where ??= digest(
    hostname(),
    attempt(() => readFileSync('/etc/machine-id', 'latin1')),
    attempt(() => readlinkSync('/proc/self/ns/pid')),
  );
  return where;
}

const UNKNOWN = '00000000';
const ENDED = 'ffffffff';

/** When a process has started, where the system tells. */
function startOf(pid: number): string {
  const stat = attempt(() => readFileSync(`/proc/${pid}/stat`, 'latin1'));
  // Behind the program's name, which may have any characters: the state, and 19 fields later the time since the system's start.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields.length < 20) return UNKNOWN;
  const boot = attempt(() => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1'));
  return fields[0] === 'Z' || fields[0] === 'X' ? ENDED : digest(boot, fields[19]);
}

function digest(...parts: string[]): string {
  return createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 8);
}

/** Nothing where there is no such file. */
function attempt(read: () => string): string {
  try {
    return read();
  } catch {
    return '';
  }
}
