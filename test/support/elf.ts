/** Reads of a 64-bit little-endian ELF shared object what its loader looks at. */
import { readFileSync } from 'node:fs';

export interface SharedObject {
  machine: 'x64' | 'arm64' | number;
  /** Libraries that are loaded along with it. */
  needed: string[];
  /** Symbols that it takes from others: 'fstat@GLIBC_2.33', or 'napi_wrap' without a version. */
  imports: string[];
  /** Symbols that others can take from it. */
  exports: string[];
  /** Is there a symbol table for debuggers? */
  hasSymbolTable: boolean;
  /** Does it stay when it is unloaded? */
  staysLoaded: boolean;
  /** Are all its symbols looked up when it is loaded? */
  bindsAtOnce: boolean;
}

const MACHINES: Record<number, 'x64' | 'arm64'> = { 62: 'x64', 183: 'arm64' };
const SHT = { symtab: 2, dynamic: 6, dynsym: 11, verneed: 0x6ffffffe, versym: 0x6fffffff };
const DT = { needed: 1n, flags1: 0x6ffffffbn };
const NOW = 0x1n;
const NODELETE = 0x8n;

export function readSharedObject(path: string): SharedObject {
  const file = readFileSync(path);
  if (file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1)
    throw new Error(`${path}: no 64-bit little-endian ELF`);
  const machine = file.readUInt16LE(18);
  const table = Number(file.readBigUInt64LE(40));
  const sections = Array.from({ length: file.readUInt16LE(60) }, (_, i) => {
    const at = table + i * file.readUInt16LE(58);
    return {
      type: file.readUInt32LE(at + 4),
      offset: Number(file.readBigUInt64LE(at + 24)),
      size: Number(file.readBigUInt64LE(at + 32)),
      link: file.readUInt32LE(at + 40),
    };
  });
  const section = (type: number) => sections.find(s => s.type === type);
  const text = (start: number) => file.toString('latin1', start, file.indexOf(0, start));
  const stringsOf = (s: { link: number }) => sections[s.link].offset;

  const needed: string[] = [];
  let flags = 0n;
  const dynamic = section(SHT.dynamic)!;
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += 16) {
    const tag = file.readBigInt64LE(at);
    const value = file.readBigUInt64LE(at + 8);
    if (tag === DT.needed) needed.push(text(stringsOf(dynamic) + Number(value)));
    if (tag === DT.flags1) flags = value;
  }

  const versions = new Map<number, string>();
  const verneed = section(SHT.verneed);
  for (let at = verneed?.offset ?? -1; at >= 0; ) {
    let entry = at + file.readUInt32LE(at + 8);
    for (let left = file.readUInt16LE(at + 2); left > 0; left--) {
      versions.set(file.readUInt16LE(entry + 6), text(stringsOf(verneed!) + file.readUInt32LE(entry + 8)));
      entry += file.readUInt32LE(entry + 12);
    }
    const next = file.readUInt32LE(at + 12);
    at = next ? at + next : -1;
  }

  const imports: string[] = [];
  const exports: string[] = [];
  const symbols = section(SHT.dynsym)!;
  const versym = section(SHT.versym);
  for (let i = 1; i < symbols.size / 24; i++) {
    const at = symbols.offset + i * 24;
    const name = text(stringsOf(symbols) + file.readUInt32LE(at));
    const defined = file.readUInt16LE(at + 6) !== 0;
    const version = versym && versions.get(file.readUInt16LE(versym.offset + i * 2) & 0x7fff);
    if (name === '') continue; // a section's
    if (defined) exports.push(name);
    else imports.push(version ? `${name}@${version}` : name);
  }
  return {
    machine: MACHINES[machine] ?? machine,
    needed,
    imports,
    exports,
    hasSymbolTable: section(SHT.symtab) !== undefined,
    staysLoaded: (flags & NODELETE) !== 0n,
    bindsAtOnce: (flags & NOW) !== 0n,
  };
}
