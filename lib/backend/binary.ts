/** Finds the native binary and loads it, or says which files were tried, why each failed, and what to do. */
import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { types } from 'node:util';
import { LMHeadError } from '../errors';
import { currentLibc } from './libc';

/** Where this code is: lib/backend/ or dist/backend/ in the package, or a bundle (one of ES modules has no __dirname). */
const here = realFolder(typeof __dirname === 'string' ? __dirname : dirname(ownFile() ?? process.execPath));
// Tools that trace the files of a deployment (@vercel/nft, so Next.js) find the binaries by this expression.
const packagePrebuilds = typeof __dirname === 'string' ? join(__dirname, '..', '..', 'prebuilds') : undefined;
const requireFile = createRequire(join(here, 'binary.js'));

/** The file that this function runs in, as the stack knows it. */
function ownFile(): string | undefined {
  const { prepareStackTrace } = Error;
  try {
    Error.prepareStackTrace = (_, sites) => sites[0]?.getFileName();
    const name = new Error().stack as string | undefined;
    if (name?.startsWith('file:')) return fileURLToPath(name);
    return name && isAbsolute(name) ? name : undefined;
  } finally {
    Error.prepareStackTrace = prepareStackTrace;
  }
}

/** A single executable of Bun's has its code in a folder that no loader sees: what lies beside the executable counts. */
function realFolder(folder: string): string {
  return /^(\/\$bunfs|B:[\\/]~BUN)([\\/]|$)/.test(folder) ? dirname(process.execPath) : folder;
}

/** What could be loaded but was not, and why. */
interface Failure {
  path: string;
  /** Undefined: there is no such file. */
  error?: unknown;
}

/**
 * The exports of the first binary that loads.
 * @throws LMHeadError LOAD
 */
export function loadBinary(): unknown {
  const failures: Failure[] = [];
  for (const path of candidates()) {
    if (!existsSync(path)) {
      failures.push({ path });
      continue;
    }
    try {
      return requireFile(path);
    } catch (error) {
      failures.push({ path, error });
    }
  }
  throw loadError(failures);
}

/** Where a binary may lie, best first. */
function candidates(): string[] {
  const asked = process.env.LMHEAD_BINARY;
  if (asked) return [resolve(asked)];
  return [...new Set(folders().flatMap(folder => [builtHere(folder), prebuilt(folder)]))];
}

/** A build of one's own goes before what came with the package. */
function builtHere(folder: string): string {
  return join(folder, 'build', 'Release', 'lmhead.node');
}

function prebuilt(folder: string): string {
  const libc = currentLibc();
  return join(prebuildsOf(folder), platform(), libc ? `lmhead.${libc}.node` : 'lmhead.node');
}

function prebuildsOf(folder: string): string {
  return packagePrebuilds && dirname(packagePrebuilds) === folder
    ? packagePrebuilds
    : join(folder, 'prebuilds');
}

/** The package; where this code was bundled, also the folder of the bundle, and the package as seen from there. */
function folders(): string[] {
  const inPackage = dirname(dirname(here));
  if (isPackage(inPackage)) return [inPackage];
  const installed = (() => {
    try {
      return [dirname(requireFile.resolve('lmhead/package.json'))];
    } catch {
      return [];
    }
  })();
  return [here, ...installed];
}

function isPackage(folder: string): boolean {
  try {
    return (requireFile(join(folder, 'package.json')) as { name?: unknown }).name === 'lmhead';
  } catch {
    return false;
  }
}

function platform(): string {
  return `${process.platform}-${process.arch}`;
}

function loadError(failures: Failure[]): LMHeadError {
  const errors = failures.flatMap(({ error }) => (error === undefined ? [] : [error]));
  const runtime = [platform(), currentLibc()].filter(Boolean).join(' ');
  const lines = [
    `no native binary of lmhead could be loaded for ${runtime}, Node.js ${process.versions.node}. Tried:`,
    ...failures.map(
      ({ path, error }) => `- ${path}: ${error === undefined ? 'not there' : messageOf(error)}`,
    ),
    'What to do:',
    ...[...new Set(advice(failures))].map(line => `- ${line}`),
  ];
  return new LMHeadError('LOAD', lines.join('\n'), {
    cause: errors.length > 1 ? new AggregateError(errors) : errors[0],
  });
}

/** One line, without the path that stands before it. */
function messageOf(error: unknown): string {
  const text = types.isNativeError(error) ? error.message : String(error);
  return text.trim().replace(/\s*\n\s*/g, '; ');
}

/** Causes that have a remedy of their own, by what the system's loader says of them. */
const REMEDIES: [said: RegExp, remedy: string][] = [
  [
    /GLIBC_[\d.]+['’]? not found/,
    'run on a system with glibc 2.28 or newer (Debian 10, RHEL 8, Ubuntu 18.10)',
  ],
  [
    /lib(gcc_s|stdc\+\+)[^:]*: (cannot open|No such)/,
    "install the compiler's runtime libraries (Alpine: apk add libgcc libstdc++; Debian: apt-get install libgcc-s1)",
  ],
  [
    /undefined symbol: napi_|undefined symbol: node_api_/,
    'use Node.js 20.17 or newer, or a runtime with Node-API 8',
  ],
  [/failed to map segment|Operation not permitted/, 'mount the folder without noexec, or install elsewhere'],
  [/Permission denied|EACCES/, 'let this user read the file'],
  [
    // glibc says of a file for another CPU that it can't be opened.
    /\.node: cannot open|invalid ELF|wrong ELF|ELF load command|file too short|mach-o|not a valid Win32|incompatible arch/i,
    'the file is damaged or of another system: remove it and install the package again',
  ],
];

function* advice(failures: Failure[]): Generator<string> {
  if (process.env.LMHEAD_BINARY)
    yield 'LMHEAD_BINARY names the one file that is tried: correct it, or unset it';
  for (const { error } of failures) {
    if (error === undefined) continue;
    const said = messageOf(error);
    for (const [pattern, remedy] of REMEDIES) if (pattern.test(said)) yield remedy;
  }
  if (!process.env.LMHEAD_BINARY && failures.every(({ error }) => error === undefined)) {
    const present = folders().flatMap(prebuiltNames);
    yield present.length > 0
      ? `the package has binaries for ${present.join(', ')}; this system needs its own`
      : 'if this code was bundled, keep lmhead out of the bundle, or copy its prebuilds/ beside it; docs/install.md shows how';
  }
  yield 'compile it here: npm run build:from-source in the folder of the package (needs a C++20 compiler, and CMake or Python)';
  yield "or do without: backend 'reference' computes the same in plain JavaScript, slowly";
}

function prebuiltNames(folder: string): string[] {
  try {
    return readdirSync(prebuildsOf(folder), { withFileTypes: true })
      .filter(entry => entry.isDirectory())
      .flatMap(({ name }) =>
        readdirSync(join(prebuildsOf(folder), name))
          .filter(file => file.endsWith('.node'))
          .map(file => [name, /^lmhead\.(\w+)\.node$/.exec(file)?.[1]].filter(Boolean).join(' ')),
      );
  } catch {
    return [];
  }
}
