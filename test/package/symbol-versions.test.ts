/** What the Linux binaries ask of the systems that they are loaded on. `npm run prebuilds` makes them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readSharedObject } from '../support/elf';
import { packageFolder } from '../support/processes';

const folder = join(packageFolder, 'prebuilds');
const binaries = existsSync(folder)
  ? readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(name =>
      /^linux-\w+\/lmhead\.glibc\.node$/.test(name),
    )
  : [];
const EXPORTS = ['napi_register_module_v1', 'node_api_module_get_api_version_v1'];

/** The oldest libraries with which Node.js itself runs: of glibc, and of GCC's run-time library. */
const NEWEST = { GLIBC: '2.28', GCC: '8.0.0' };

function isNewer(version: string, than: string): boolean {
  const [a, b] = [version, than].map(text => text.split('.').map(Number));
  const at = a.findIndex((part, i) => part !== (b[i] ?? 0));
  return at >= 0 && a[at] > (b[at] ?? 0);
}

it('versions are compared as numbers', () => {
  expect(isNewer('2.33', '2.28')).toBe(true);
  expect(isNewer('2.3.2', '2.28')).toBe(false);
  expect(isNewer('2.28', '2.28')).toBe(false);
  expect(isNewer('4.2.0', '8.0.0')).toBe(false);
});

describe.skipIf(binaries.length === 0).each(binaries)('%s', name => {
  const binary = readSharedObject(join(folder, name));

  it('is for the CPU that its folder names', () => {
    expect(name).toContain(`linux-${binary.machine}/`);
  });

  it('needs no symbol newer than glibc 2.28 (else native/addon/glibc_2_28.cc has to define it)', () => {
    const versioned = binary.imports
      .map(symbol => /@([A-Z]+)_([\d.]+)$/.exec(symbol))
      .filter(match => match !== null);
    expect(versioned.length).toBeGreaterThan(20);
    const newer = versioned.filter(
      ([, library, version]) =>
        !(library in NEWEST) || isNewer(version, NEWEST[library as keyof typeof NEWEST]),
    );
    expect(newer.map(match => match.input)).toEqual([]);
  });

  it('brings its own C++ library, and needs no other than the system has', () => {
    expect(
      binary.needed.filter(library => !/^(lib(c|m|gcc_s|pthread)|ld-linux-[\w-]+)\.so\.\d$/.test(library)),
    ).toEqual([]);
    expect(binary.needed).toContain('libgcc_s.so.1');
    expect(
      binary.imports.filter(symbol => symbol.startsWith('_ZNSt') || symbol.startsWith('__cxa_throw')),
    ).toEqual([]);
  });

  it('shows nothing but what Node.js looks up, and is stripped', () => {
    expect(binary.exports.toSorted()).toEqual(EXPORTS);
    expect(binary.hasSymbolTable).toBe(false);
  });

  it('has no kernels that only tests need', () => {
    expect(readFileSync(join(folder, name)).includes('-emulated')).toBe(false);
  });

  it('fails to load where a symbol is missing, and not when that is called', () => {
    expect(binary.bindsAtOnce).toBe(true);
  });

  it('stays in memory when a worker thread that loaded it ends', () => {
    expect(binary.staysLoaded).toBe(true);
  });
});

const ours = join(packageFolder, 'build/Release/lmhead.node');
it.skipIf(process.platform !== 'linux' || !existsSync(ours))(
  'a build of one’s own hides its symbols too',
  () => {
    expect(readSharedObject(ours).exports.toSorted()).toEqual(EXPORTS);
  },
);
