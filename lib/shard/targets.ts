/** The logits of targets, wherever their rows are: ranks are counted against them in every shard. */
import { newFloats } from '../arguments/arrays';
import { type HeadBackend, type HiddenJob, IGNORED } from '../backend/backend';

/** Some rows of a job, and all targets of theirs that a backend has. */
export interface TargetPass {
  backend: HeadBackend;
  job: HiddenJob;
  /** What is wanted of its logits: of row `row` of the whole job, `at`. */
  wanted: { row: number; at: number }[];
}

/** Each of these rows is multiplied with the targets of all. */
const ROWS = 32;

/** @param indexOf the backend's local index of an id */
export function targetPasses(
  { n, hidden, hiddenDtype, score }: HiddenJob,
  d: number,
  backend: HeadBackend,
  indexOf: (id: number) => number | undefined,
): TargetPass[] {
  const passes: TargetPass[] = [];
  for (let first = 0; first < n; first += ROWS) {
    const count = Math.min(ROWS, n - first);
    const its = new Map<number, number>();
    for (let row = first; row < first + count; row++) {
      const id = score!.targets[row];
      const index = id === IGNORED ? undefined : indexOf(id);
      if (index !== undefined) its.set(row, index);
    }
    if (its.size === 0) continue;
    const rows = Uint32Array.from(new Set(its.values())).sort();
    const at = new Map(Array.from(rows, (index, i) => [index, i]));
    const wanted = [...its].map(([row, index]) => ({
      row,
      at: (row - first) * rows.length + at.get(index)!,
    }));
    const job: HiddenJob = {
      n: count,
      hidden: hidden.subarray(first * d, (first + count) * d),
      hiddenDtype,
      view: { rows, overVocabulary: false },
      logits: newFloats(count * rows.length, 'logits'),
    };
    passes.push({ backend, job, wanted });
  }
  return passes;
}

/** When the pass has run. */
export function putLogits({ job, wanted }: TargetPass, logits: Float32Array): void {
  for (const { row, at } of wanted) logits[row] = job.logits![at];
}
