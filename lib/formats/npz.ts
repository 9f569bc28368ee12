/** NumPy's archives of arrays (.npz): a ZIP of .npy files, stored as they are (numpy.savez) or deflated (numpy.savez_compressed). */
import { inflateRawSync } from 'node:zlib';
import { LMHeadError } from '../errors';
import { headTensorNames } from './head-names';
import { readNpy } from './npy';
import type { FilePlan } from './read-plan';
import { quoted, type TensorTable } from './tensor-table';
import { asBuffer, offsetOf, readMember, type ZipMember } from './zip';

const SUFFIX = '.npy';
/** Of archives with more arrays, only those are looked at that by their names can be of a head. */
const FEW = 64;
/** Deflate makes nothing smaller than that. */
const LEAST_RATIO = 1032;

export interface NpzTensors {
  tensors: TensorTable;
  /** The whole of a member that is deflated. */
  unpacked: Map<string, Uint8Array<ArrayBuffer>>;
}

/** Has the archive arrays? */
export function isNpz(members: Map<string, ZipMember>): boolean {
  return [...members.keys()].some(name => name.endsWith(SUFFIX));
}

/**
 * @param name the file's name, for messages
 * @param wanted an array that is to be looked at whatever its name
 */
export function* readNpz(
  name: string,
  fileSize: number,
  members: Map<string, ZipMember>,
  wanted: string | undefined,
): FilePlan<NpzTensors> {
  const arrays = [...members.keys()]
    .filter(key => key.endsWith(SUFFIX))
    .map(key => key.slice(0, -SUFFIX.length));
  const looked = arrays.length > FEW ? headTensorNames(arrays) : new Set(arrays);
  if (wanted !== undefined && arrays.includes(wanted)) looked.add(wanted);
  const found: NpzTensors = { tensors: new Map(), unpacked: new Map() };
  try {
    for (const key of looked) {
      const member = members.get(key + SUFFIX)!;
      if (member.deflated) {
        const bytes = yield* inflated(member, fileSize, key);
        found.unpacked.set(key, bytes);
        found.tensors.set(key, replay(readNpy(`${name}: ${key}`, bytes.length), bytes));
      } else {
        const begin = yield* offsetOf(member, fileSize);
        const entry = yield* shifted(readNpy(`${name}: ${key}`, member.size), begin);
        found.tensors.set(key, { ...entry, begin: entry.begin + begin, end: entry.end + begin });
      }
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new LMHeadError('FORMAT', `${name}: ${error.message}; want a well-formed .npz file`, {
      cause: error,
    });
  }
  return found;
}

/** A member as it was before it was deflated; no larger than it says, and than it can be. */
function* inflated(member: ZipMember, fileSize: number, key: string): FilePlan<Uint8Array<ArrayBuffer>> {
  const { size, unpackedSize } = member;
  if (unpackedSize > size * LEAST_RATIO)
    throw new SyntaxError(`${quoted(key)} cannot have ${unpackedSize} bytes`);
  const bytes = yield* readMember(member, fileSize, size);
  try {
    const whole = inflateRawSync(asBuffer(bytes), { maxOutputLength: Math.max(1, unpackedSize) });
    if (whole.length !== unpackedSize) throw new SyntaxError(`${quoted(key)} is not as long as it says`);
    return new Uint8Array(whole);
  } catch (error) {
    if (error instanceof SyntaxError) throw error;
    throw new SyntaxError(`${quoted(key)} is damaged`, { cause: error });
  }
}

/** A plan for a file that lies in another one. */
function* shifted<T>(plan: FilePlan<T>, by: number): FilePlan<T> {
  let step = plan.next();
  while (!step.done) step = plan.next(yield { ...step.value, offset: step.value.offset + by });
  return step.value;
}

/** A plan for a file that is in memory. */
function replay<T>(plan: FilePlan<T>, bytes: Uint8Array<ArrayBuffer>): T {
  let step = plan.next();
  while (!step.done) {
    const { offset, length } = step.value;
    step = plan.next(bytes.slice(offset, offset + length));
  }
  return step.value;
}
