import type { FilePlan } from '../../lib/formats/read-plan';

/** Follows a plan over bytes in memory, as over a file of them. `onRead` hears how many bytes it wants. */
export function fromBytes<T>(
  file: Uint8Array,
  planner: (size: number) => FilePlan<T>,
  onRead?: (bytes: number) => void,
): T {
  const plan = planner(file.length);
  let step = plan.next();
  while (!step.done) {
    const { offset, length } = step.value;
    if (!(offset >= 0 && length >= 0 && offset + length <= file.length)) {
      throw new Error(`the plan asks for [${offset}, ${offset} + ${length}) of ${file.length} bytes`);
    }
    onRead?.(length);
    step = plan.next(new Uint8Array(file.subarray(offset, offset + length)));
  }
  return step.value;
}
