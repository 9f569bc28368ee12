/**
 * Reading a file synchronously and asynchronously by one description.
 * A reader is a generator: it yields which bytes it needs, is given them, and returns what it made of them.
 */
import * as fs from 'node:fs';
import * as fsPromises from 'node:fs/promises';
import { LMHeadError } from '../errors';

/** Bytes [offset, offset + length) of the file, please. */
export interface ReadRequest {
  offset: number;
  length: number;
  /** Where to put them, if not into new memory. */
  into?: Uint8Array;
}
export type FilePlan<T> = Generator<ReadRequest, T, Uint8Array<ArrayBuffer>>;
/** Makes the plan for a regular file of that many bytes. */
export type Planner<T> = (size: number) => FilePlan<T>;

/** The kernel reads at most 2 GiB at once, and other work on the loop's pool waits for one read. */
const MOST_AT_ONCE = 2 ** 26;

export function followSync<T>(path: string, planner: Planner<T>): T {
  let file: number | undefined;
  try {
    requireRegular(path, fs.statSync(path)); // before opening: to open a pipe is to wait for its writer
    file = fs.openSync(path, 'r');
    const stat = fs.fstatSync(file);
    requireRegular(path, stat);
    const plan = planner(stat.size);
    let step = plan.next();
    while (!step.done) {
      const { offset, bytes } = prepared(step.value);
      for (let at = 0; at < bytes.byteLength; ) {
        const wanted = Math.min(bytes.byteLength - at, MOST_AT_ONCE);
        at += some(path, fs.readSync(file, bytes, at, wanted, offset + at));
      }
      step = plan.next(bytes);
    }
    return step.value;
  } catch (error) {
    throw readable(path, error);
  } finally {
    if (file !== undefined) fs.closeSync(file);
  }
}

export async function follow<T>(path: string, planner: Planner<T>): Promise<T> {
  let file: fsPromises.FileHandle | undefined;
  try {
    requireRegular(path, await fsPromises.stat(path));
    file = await fsPromises.open(path, 'r');
    const stat = await file.stat();
    requireRegular(path, stat);
    const plan = planner(stat.size);
    let step = plan.next();
    while (!step.done) {
      const { offset, bytes } = prepared(step.value);
      for (let at = 0; at < bytes.byteLength; ) {
        const wanted = Math.min(bytes.byteLength - at, MOST_AT_ONCE);
        at += some(path, (await file.read(bytes, at, wanted, offset + at)).bytesRead);
      }
      step = plan.next(bytes);
    }
    return step.value;
  } catch (error) {
    throw readable(path, error);
  } finally {
    await file?.close();
  }
}

function prepared({ offset, length, into }: ReadRequest): { offset: number; bytes: Uint8Array<ArrayBuffer> } {
  return { offset, bytes: (into ?? new Uint8Array(length)) as Uint8Array<ArrayBuffer> };
}

function some(path: string, bytesRead: number): number {
  if (bytesRead > 0) return bytesRead;
  throw new LMHeadError(
    'IO',
    `${path}: the file became shorter while it was read; want one that stays as it is`,
  );
}

function requireRegular(path: string, stat: fs.Stats): void {
  if (stat.isFile()) return;
  const what = stat.isDirectory() ? 'a folder' : 'no regular file';
  throw new LMHeadError('IO', `path: ${path} is ${what}; want a .safetensors file`);
}

/** What the system says, in this library's terms. */
function readable(path: string, error: unknown): unknown {
  if (error instanceof LMHeadError || !(error instanceof Error) || !('code' in error)) return error;
  const missing = error.code === 'ENOENT' ? 'there is no such file' : error.message;
  return new LMHeadError('IO', `path: ${path} cannot be read: ${missing}; want a .safetensors file`, {
    cause: error,
  });
}
