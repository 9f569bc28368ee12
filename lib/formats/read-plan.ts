/**
 * Reading files synchronously and asynchronously by one description.
 * A reader is a generator: it yields what it needs to know, is told, and returns what it made of that.
 */
import { isUtf8 } from 'node:buffer';
import * as fs from 'node:fs';
import * as fsPromises from 'node:fs/promises';
import { isSystemError, LMHeadError } from '../errors';

/** Bytes [offset, offset + length) of the file, please. */
export interface ReadRequest {
  offset: number;
  length: number;
  /** Where to put them, if not into new memory. */
  into?: Uint8Array;
}
/** Reads one file. Bytes that it is given are its own. */
export type FilePlan<T> = Generator<ReadRequest, T, Uint8Array<ArrayBuffer>>;
/** Makes the plan for a regular file of that many bytes. */
export type Planner<T> = (size: number) => FilePlan<T>;

/** What lies at a path: of a folder the names in it, of a regular file how many bytes. */
export type Found =
  | { kind: 'file'; size: number }
  | { kind: 'folder'; names: string[] }
  | { kind: 'nothing' }
  | { kind: 'other' };

type Request = { path: string; read?: ReadRequest };
type Reply = Found | Uint8Array<ArrayBuffer>;
/** Looks at several files, and reads some of them. */
export type Plan<T> = Generator<Request, T, Reply>;

/** What lies at `path`? */
export function* look(path: string): Plan<Found> {
  return (yield { path }) as Found;
}

/** A plan for one file, as part of one for several. */
export function* within<T>(path: string, size: number, planner: Planner<T>): Plan<T> {
  const plan = planner(size);
  let step = plan.next();
  while (!step.done) step = plan.next(yield* readBytes(path, step.value));
  return step.value;
}

/** Bytes of the file at `path`. */
export function* readBytes(path: string, read: ReadRequest): Plan<Uint8Array<ArrayBuffer>> {
  return (yield { path, read }) as Uint8Array<ArrayBuffer>;
}

/** Why there is no file at `path`, which the argument `name` gives. */
export function notAFile(
  path: string,
  found: Found,
  name = 'path',
  wanted = 'a file of weights',
): LMHeadError {
  const what = {
    nothing: 'cannot be read: there is no such file',
    folder: 'is a folder',
    other: 'is no regular file',
    file: 'is a file',
  }[found.kind];
  return new LMHeadError('IO', `${name}: ${path} ${what}; want ${wanted}`);
}

/** The kernel reads at most 2 GiB at once, and other work on the loop's pool waits for one read. */
const MOST_AT_ONCE = 2 ** 26;

export function followSync<T>(plan: Plan<T>): T {
  const open = new Map<string, number>();
  try {
    let step = plan.next();
    while (!step.done) {
      const { path, read } = step.value;
      let reply: Reply;
      try {
        reply = read ? readSync(open, path, read) : lookSync(path);
      } catch (error) {
        throw readable(path, error);
      }
      step = plan.next(reply);
    }
    return step.value;
  } finally {
    for (const file of open.values()) fs.closeSync(file);
  }
}

function lookSync(path: string): Found {
  try {
    const stat = fs.statSync(path);
    return found(stat, stat.isDirectory() ? fs.readdirSync(path) : []);
  } catch (error) {
    return nothing(error);
  }
}

function readSync(open: Map<string, number>, path: string, read: ReadRequest): Uint8Array<ArrayBuffer> {
  let file = open.get(path);
  if (file === undefined) {
    file = fs.openSync(path, FLAGS);
    open.set(path, file);
  }
  const bytes = destination(path, read);
  for (let at = 0; at < bytes.byteLength; ) {
    const wanted = Math.min(bytes.byteLength - at, MOST_AT_ONCE);
    at += some(path, fs.readSync(file, bytes, at, wanted, read.offset + at));
  }
  return bytes;
}

export async function follow<T>(plan: Plan<T>): Promise<T> {
  const open = new Map<string, fsPromises.FileHandle>();
  try {
    let step = plan.next();
    while (!step.done) {
      const { path, read } = step.value;
      let reply: Reply;
      try {
        reply = await (read ? readAsync(open, path, read) : lookAsync(path));
      } catch (error) {
        throw readable(path, error);
      }
      step = plan.next(reply);
    }
    return step.value;
  } finally {
    for (const file of open.values()) await file.close();
  }
}

async function lookAsync(path: string): Promise<Found> {
  try {
    const stat = await fsPromises.stat(path);
    return found(stat, stat.isDirectory() ? await fsPromises.readdir(path) : []);
  } catch (error) {
    return nothing(error);
  }
}

async function readAsync(
  open: Map<string, fsPromises.FileHandle>,
  path: string,
  read: ReadRequest,
): Promise<Uint8Array<ArrayBuffer>> {
  let file = open.get(path);
  if (file === undefined) {
    file = await fsPromises.open(path, FLAGS);
    open.set(path, file);
  }
  const bytes = destination(path, read);
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength); // Yarn's Plug'n'Play reads into nothing else
  for (let at = 0; at < bytes.byteLength; ) {
    const wanted = Math.min(bytes.byteLength - at, MOST_AT_ONCE);
    at += some(path, (await file.read(buffer, at, wanted, read.offset + at)).bytesRead);
  }
  return bytes;
}

/** A path that was a regular file can be a pipe a moment later, and to open one is to wait for its writer. */
const FLAGS = fs.constants.O_RDONLY | (fs.constants.O_NONBLOCK ?? 0);

function found(stat: fs.Stats, names: string[]): Found {
  if (stat.isFile()) return { kind: 'file', size: stat.size };
  return stat.isDirectory() ? { kind: 'folder', names: names.sort() } : { kind: 'other' };
}

/** A path below a file leads nowhere either. */
function nothing(error: unknown): Found {
  if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return { kind: 'nothing' };
  throw error;
}

function destination(path: string, { length, into }: ReadRequest): Uint8Array<ArrayBuffer> {
  if (into) return into as Uint8Array<ArrayBuffer>;
  try {
    return new Uint8Array(length);
  } catch (cause) {
    throw new LMHeadError('MEMORY', `path: ${length} bytes of ${path} do not fit into memory; want less`, {
      cause,
    });
  }
}

function some(path: string, bytesRead: number): number {
  if (bytesRead > 0) return bytesRead;
  throw new LMHeadError(
    'IO',
    `${path}: the file became shorter while it was read; want one that stays as it is`,
  );
}

function unreadable(path: string, why: string, cause?: unknown): LMHeadError {
  return new LMHeadError('IO', `path: ${path} cannot be read: ${why}; want a file of weights`, { cause });
}

/** What the system says, in this library's terms. */
function readable(path: string, error: unknown): unknown {
  if (!isSystemError(error)) return error;
  return unreadable(path, error.message, error);
}

/** Headers and descriptions are never longer than that, in whatever format. */
export const MOST_HEADER_BYTES = 25_000_000;

/**
 * The whole of a file of text, as UTF-8.
 * @param name for messages
 * @param most bytes of it
 * @throws LMHeadError FORMAT where it has more, or is not UTF-8
 */
export function* readText(name: string, fileSize: number, most = MOST_HEADER_BYTES): FilePlan<Uint8Array> {
  if (fileSize > most)
    throw new LMHeadError('FORMAT', `${name}: it has ${fileSize} bytes; want ${most} at most`);
  const bytes = yield { offset: 0, length: fileSize };
  if (!isUtf8(bytes)) throw new LMHeadError('FORMAT', `${name}: it is not UTF-8; want text`);
  return bytes;
}
