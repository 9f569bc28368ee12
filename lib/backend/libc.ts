/** Which C library this process runs on: what decides between two binaries for one kind of Linux. */
import { closeSync, openSync, readSync } from 'node:fs';

export type Libc = 'glibc' | 'musl';

const PROGRAM_INTERPRETER = 3; // PT_INTERP

/**
 * The loader that an ELF program asks for, for example '/lib64/ld-linux-x86-64.so.2' or '/lib/ld-musl-x86_64.so.1'.
 * Undefined where the file can't be read, is no 64-bit little-endian ELF, or asks for none.
 */
export function elfInterpreter(path: string): string | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    const head = Buffer.alloc(8192); // program headers and the interpreter's name lie at the front
    const size = readSync(file, head, 0, head.length, 0);
    if (size < 64 || head.readUInt32BE(0) !== 0x7f454c46 || head[4] !== 2 || head[5] !== 1) return undefined;
    const table = Number(head.readBigUInt64LE(32));
    const entrySize = head.readUInt16LE(54);
    const entries = head.readUInt16LE(56);
    for (let i = 0; i < entries; i++) {
      const at = table + i * entrySize;
      if (at + 40 > size) return undefined;
      if (head.readUInt32LE(at) !== PROGRAM_INTERPRETER) continue;
      const begin = Number(head.readBigUInt64LE(at + 8));
      const length = Number(head.readBigUInt64LE(at + 32));
      if (begin + length > size) return undefined;
      return head.toString('latin1', begin, begin + length).replace(/\0.*$/s, '');
    }
    return undefined;
  } catch {
    return undefined;
  } finally {
    closeSync(file);
  }
}

let known: Libc | undefined;

/**
 * Undefined where the question does not arise: elsewhere than on Linux. The program that runs here names its loader, whatever
 * else the system holds (Alpine with glibc beside musl, a container without /etc or ldd); one without a loader is asked for its
 * report.
 */
export function currentLibc(): Libc | undefined {
  if (process.platform !== 'linux') return undefined;
  known ??=
    libcOfInterpreter(elfInterpreter('/proc/self/exe') ?? elfInterpreter(process.execPath)) ?? reported();
  return known;
}

export function libcOfInterpreter(interpreter: string | undefined): Libc | undefined {
  if (interpreter === undefined) return undefined;
  return /(^|\/)ld-musl-[^/]*$/.test(interpreter) ? 'musl' : 'glibc';
}

function reported(): Libc {
  const report = process.report as { excludeNetwork?: boolean; getReport(): unknown } | undefined;
  if (!report) return 'glibc';
  const before = report.excludeNetwork;
  report.excludeNetwork = true; // or it looks up every open socket's host
  try {
    const { header } = report.getReport() as { header: { glibcVersionRuntime?: string } };
    return header.glibcVersionRuntime ? 'glibc' : 'musl';
  } finally {
    report.excludeNetwork = before;
  }
}
