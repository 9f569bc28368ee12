import { basename, dirname } from 'node:path';
import type { FilePlan, Plan } from '../../lib/formats/read-plan';

/** Follows a plan over bytes in memory, as over a file of them. */
export function fromBytes<T>(file: Uint8Array, planner: (size: number) => FilePlan<T>): T {
  const plan = planner(file.length);
  let step = plan.next();
  while (!step.done) step = plan.next(part(file, step.value));
  return step.value;
}

/** What a plan asked for. */
export interface Asked {
  requests: number;
  bytes: number;
}

/** Follows a plan over files in memory, by their paths. */
export function fromFiles<T>(files: ReadonlyMap<string, Uint8Array>, plan: Plan<T>, asked: Asked): T {
  let step = plan.next();
  while (!step.done) {
    const { path, read } = step.value;
    const file = files.get(path);
    asked.requests++;
    if (read) {
      if (!file) throw new Error(`the plan reads ${path}, which is no file`);
      asked.bytes += read.length;
      step = plan.next(part(file, read));
    } else if (file) step = plan.next({ kind: 'file', size: file.length });
    else {
      const names = [...files.keys()].filter(name => dirname(name) === path).map(name => basename(name));
      step = plan.next(names.length > 0 ? { kind: 'folder', names } : { kind: 'nothing' });
    }
  }
  return step.value;
}

/** Bytes of their own, as a reader of files gives them. */
function part(
  file: Uint8Array,
  { offset, length, into }: { offset: number; length: number; into?: Uint8Array },
): Uint8Array<ArrayBuffer> {
  const inside = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  // A file that is shorter than a header says is not read at all.
  if (!inside || offset + length > file.length) {
    throw new Error(`the plan asks for [${offset}, ${offset} + ${length}) of ${file.length} bytes`);
  }
  const bytes = (into ?? new Uint8Array(length)) as Uint8Array<ArrayBuffer>;
  bytes.set(file.subarray(offset, offset + length));
  return bytes;
}
