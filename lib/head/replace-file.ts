/** Writes a file, whole or not at all, and takes care of what has its name. */
import * as fs from 'node:fs';
import { basename, dirname, isAbsolute, join, sep } from 'node:path';
import { promisify } from 'node:util';
import { isSystemError, LMHeadError } from '../errors';
import { isAbandoned, temporaryName } from './temporary-names';

/**
 * Through a file beside it, which takes the name when all of it is on the disk: nobody ever sees half a file. What is replaced must
 * be a regular file, whose mode and, where that may be, owner and group are kept. A symbolic link stays, and what it leads to is
 * replaced. Files that killed processes have left half-written in the folder are removed first.
 * @param pieces of the file; a piece is written before the next is asked for
 * @param argument the path's name, for messages
 * @throws LMHeadError IO, and whatever `pieces` throws
 */
export async function replaceFile(
  path: string,
  pieces: Iterable<Uint8Array>,
  argument = 'path',
): Promise<void> {
  const steps = replacing(path, pieces, argument);
  let step = steps.next();
  while (!step.done) {
    const [name, args] = step.value;
    let result: Result;
    try {
      result = await (ASYNC[name] as (...args: unknown[]) => Promise<Result>)(...args);
    } catch (error) {
      step = steps.throw(error);
      continue;
    }
    step = steps.next(result);
  }
}

/** As `replaceFile`, at once. */
export function replaceFileSync(path: string, pieces: Iterable<Uint8Array>): void {
  const steps = replacing(path, pieces, 'path');
  let step = steps.next();
  while (!step.done) {
    const [name, args] = step.value;
    let result: Result;
    try {
      result = (SYNC[name] as (...args: unknown[]) => Result)(...args);
    } catch (error) {
      step = steps.throw(error);
      continue;
    }
    step = steps.next(result);
  }
}

/** What is asked of the system. */
interface Calls {
  stat(path: string): fs.Stats;
  lstat(path: string): fs.Stats;
  realpath(path: string): string;
  readlink(path: string): string;
  readdir(path: string): string[];
  open(path: string, flags: string, mode: number): number;
  fstat(file: number): fs.Stats;
  fchown(file: number, uid: number, gid: number): void;
  fchmod(file: number, mode: number): void;
  /** @returns how many of the bytes were written */
  write(file: number, bytes: Uint8Array): number;
  fsync(file: number): void;
  close(file: number): void;
  rename(from: string, to: string): void;
  unlink(path: string): void;
}
type Result = ReturnType<Calls[keyof Calls]>;
type Steps<T> = Generator<[keyof Calls, unknown[]], T, Result>;

const SYNC: Calls = {
  stat: path => fs.statSync(path),
  lstat: path => fs.lstatSync(path),
  realpath: path => fs.realpathSync.native(path),
  readlink: path => fs.readlinkSync(path),
  readdir: path => fs.readdirSync(path),
  open: fs.openSync,
  fstat: file => fs.fstatSync(file),
  fchown: fs.fchownSync,
  fchmod: fs.fchmodSync,
  write: (file, bytes) => fs.writeSync(file, bytes),
  fsync: fs.fsyncSync,
  close: fs.closeSync,
  rename: fs.renameSync,
  unlink: fs.unlinkSync,
};
const writeSome = promisify(fs.write) as (
  file: number,
  bytes: Uint8Array,
) => Promise<{ bytesWritten: number }>;
const ASYNC: {
  [Name in keyof Calls]: (...args: Parameters<Calls[Name]>) => Promise<ReturnType<Calls[Name]>>;
} = {
  stat: path => fs.promises.stat(path),
  lstat: path => fs.promises.lstat(path),
  realpath: path => promisify(fs.realpath.native)(path),
  readlink: path => fs.promises.readlink(path),
  readdir: path => fs.promises.readdir(path),
  open: promisify(fs.open),
  fstat: file => promisify(fs.fstat)(file),
  fchown: promisify(fs.fchown),
  fchmod: promisify(fs.fchmod),
  write: async (file, bytes) => (await writeSome(file, bytes)).bytesWritten,
  fsync: promisify(fs.fsync),
  close: promisify(fs.close),
  rename: fs.promises.rename,
  unlink: fs.promises.unlink,
};

function* call<Name extends keyof Calls>(
  name: Name,
  ...args: Parameters<Calls[Name]>
): Steps<ReturnType<Calls[Name]>> {
  return (yield [name, args]) as ReturnType<Calls[Name]>;
}

function* replacing(path: string, pieces: Iterable<Uint8Array>, argument: string): Steps<void> {
  try {
    const target = yield* targetOf(path);
    const folder = dirname(target);
    yield* removeAbandoned(folder);
    const temporary = join(folder, temporaryName());
    try {
      yield* writeAs(temporary, pieces, yield* replaceable(target));
      yield* replaceable(target); // what could not be written over before may be there now
      yield* call('rename', temporary, target);
    } catch (error) {
      yield* attempted(call('unlink', temporary));
      throw error;
    }
    yield* attempted(syncFolder(folder));
  } catch (error) {
    throw writable(argument, path, error);
  }
}

const MOST_LINKS = 40;

/** Where the path leads in the end: that name is in its folder, and no link; there may be nothing yet. */
function* targetOf(path: string): Steps<string> {
  // The system itself follows the links first, as it refuses some: those that others have set in a folder for all.
  const found = yield* present(call('stat', path));
  if (found) requireRegular(found);
  let at = path;
  for (let links = 0; links < MOST_LINKS; links++) {
    const target = join(yield* call('realpath', dirname(at)), basename(at));
    const its = yield* present(call('lstat', target));
    if (!its?.isSymbolicLink()) {
      if (found && (its?.ino !== found.ino || its.dev !== found.dev)) {
        throw new Unwritable('leads to a file that has no name', 'the path of a file');
      }
      return target;
    }
    const link = yield* call('readlink', target);
    // Not normalized: what is above a link to a folder is above that folder.
    at = isAbsolute(link) ? link : dirname(target) + sep + link;
  }
  throw new Unwritable('leads through too many links', 'the path of a file');
}

/** What is there already: a regular file or nothing. */
function* replaceable(target: string): Steps<fs.Stats | undefined> {
  const found = yield* present(call('lstat', target));
  if (found) requireRegular(found);
  return found;
}

function* writeAs(
  temporary: string,
  pieces: Iterable<Uint8Array>,
  replaced: fs.Stats | undefined,
): Steps<void> {
  // Nobody else may read what takes a private file's place, at no time.
  const file = yield* call('open', temporary, 'wx', replaced ? 0o600 : 0o666);
  try {
    for (const piece of pieces) {
      for (let at = 0; at < piece.length; ) at += yield* call('write', file, piece.subarray(at));
    }
    if (replaced) yield* keepAccess(file, replaced);
    yield* call('fsync', file);
  } finally {
    yield* call('close', file);
  }
}

/** Owner, group and mode of what is replaced. Only root may give files away, and others to groups that they are in. */
function* keepAccess(file: number, { uid, gid, mode }: fs.Stats): Steps<void> {
  const own = yield* call('fstat', file);
  if (own.uid !== uid || own.gid !== gid) {
    const given = yield* attempted(call('fchown', file, uid, gid));
    if (!given && own.gid !== gid) yield* attempted(call('fchown', file, own.uid, gid));
  }
  const now = yield* call('fstat', file);
  let wanted = mode & 0o777;
  // Another group gets no more than everyone.
  if (now.gid !== gid) wanted &= 0o707 | ((wanted & 0o007) << 3);
  if ((now.mode & 0o777) !== wanted) yield* call('fchmod', file, wanted);
}

function* removeAbandoned(folder: string): Steps<void> {
  const names = yield* attempted(call('readdir', folder));
  for (const name of names?.value ?? []) {
    if (isAbandoned(name)) yield* attempted(call('unlink', join(folder, name)));
  }
}

/** The new name is in the folder's own data. Not every system lets one open a folder; the file's contents are safe in any case. */
function* syncFolder(path: string): Steps<void> {
  const folder = yield* call('open', path, 'r', 0);
  try {
    yield* call('fsync', folder);
  } finally {
    yield* call('close', folder);
  }
}

/** Whatever becomes of it: undefined where it fails. */
function* attempted<T>(steps: Steps<T>): Steps<{ value: T } | undefined> {
  try {
    return { value: yield* steps };
  } catch {
    return undefined;
  }
}

/** Of nothing, undefined. */
function* present<T>(steps: Steps<T>): Steps<T | undefined> {
  try {
    return yield* steps;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function requireRegular(found: fs.Stats): void {
  if (found.isFile()) return;
  const kinds: [is: boolean, what: string][] = [
    [found.isDirectory(), 'a folder'],
    [found.isFIFO(), 'a pipe (FIFO)'],
    [found.isSocket(), 'a socket'],
    [found.isCharacterDevice() || found.isBlockDevice(), 'a device'],
    [found.isSymbolicLink(), 'a link that was not there before'],
  ];
  const [, what] = kinds.find(([is]) => is) ?? [true, 'no regular file'];
  throw new Unwritable(`is ${what}`, 'a regular file, or a name that nothing has yet');
}

/** Of the path: what is wrong with it. */
class Unwritable extends Error {
  readonly what: string;
  readonly want: string;

  constructor(what: string, want: string) {
    super(what);
    this.what = what;
    this.want = want;
  }
}

const FULL = ['ENOSPC', 'EDQUOT', 'EFBIG'];

/** What the system says, in this library's terms. */
function writable(argument: string, path: string, error: unknown): unknown {
  if (error instanceof Unwritable) {
    return new LMHeadError('IO', `${argument}: ${path} ${error.what}; want ${error.want}`);
  }
  if (error instanceof LMHeadError || !isSystemError(error)) return error;
  const want = FULL.includes(error.code as string)
    ? 'room for all of it'
    : "a file's path in a folder that can be written to";
  const what = `cannot be written: ${error.message}`;
  return new LMHeadError('IO', `${argument}: ${path} ${what}; want ${want}`, { cause: error });
}
