import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { currentLibc, elfInterpreter, libcOfInterpreter } from '../../lib/backend/libc';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lmhead-libc-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** An ELF program with one program header, of the given type. */
function program(interpreter: string, type = 3): Buffer {
  const file = Buffer.alloc(64 + 56);
  file.writeUInt32BE(0x7f454c46, 0);
  file[4] = 2;
  file[5] = 1;
  file.writeBigUInt64LE(64n, 32);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(1, 56);
  file.writeUInt32LE(type, 64);
  file.writeBigUInt64LE(120n, 64 + 8);
  const name = Buffer.from(`${interpreter}\0`);
  file.writeBigUInt64LE(BigInt(name.length), 64 + 32);
  return Buffer.concat([file, name]);
}

function interpreterOf(bytes: Uint8Array): string | undefined {
  const file = join(folder, 'program');
  writeFileSync(file, bytes);
  return elfInterpreter(file);
}

describe('libc', () => {
  it.skipIf(process.platform !== 'linux')('of this process is the one its report names', () => {
    const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
    expect(currentLibc()).toBe(header.glibcVersionRuntime ? 'glibc' : 'musl');
    expect(elfInterpreter(process.execPath)).toMatch(
      header.glibcVersionRuntime ? /\/ld-linux/ : /\/ld-musl-/,
    );
  });

  it.each([
    ['/lib/ld-musl-x86_64.so.1', 'musl'],
    ['/lib/ld-musl-aarch64.so.1', 'musl'],
    ['/lib64/ld-linux-x86-64.so.2', 'glibc'],
    ['/lib/ld-linux-aarch64.so.1', 'glibc'],
    ['/nix/store/abc-glibc-2.39/lib/ld-linux-x86-64.so.2', 'glibc'],
    ['/srv/ld-musl-images/rootfs/lib64/ld-linux-x86-64.so.2', 'glibc'],
  ])('of a program that asks for %s is %s', (interpreter, libc) => {
    expect(interpreterOf(program(interpreter))).toBe(interpreter);
    expect(libcOfInterpreter(interpreter)).toBe(libc);
  });

  it('is left open by a static program, another kind of file, and no file', () => {
    expect(interpreterOf(program('/lib/ld-musl-x86_64.so.1', 1))).toBeUndefined();
    expect(interpreterOf(Buffer.from('#!/bin/sh\n'))).toBeUndefined();
    expect(interpreterOf(program('/lib/ld.so').subarray(0, 110))).toBeUndefined();
    expect(elfInterpreter(join(folder, 'absent'))).toBeUndefined();
    expect(elfInterpreter(folder)).toBeUndefined();
    expect(libcOfInterpreter(undefined)).toBeUndefined();
  });

  it('is asked of any bytes without an error', () => {
    const whole = program('/lib/ld-musl-x86_64.so.1');
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 4 }),
        fc.nat(whole.length),
        (changes, length) => {
          const bytes = Buffer.from(whole);
          for (const [at, value] of changes) bytes[at] = value;
          const found = interpreterOf(bytes.subarray(0, length));
          expect(found === undefined || typeof found === 'string').toBe(true);
        },
      ),
      { numRuns: 500 },
    );
  });
});
