/** Finds and loads the native binary, or says what was tried and what to do. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LMHeadError } from './errors';

/** What native/addon exports. `lib/native-backend.ts` knows the arguments' order. */
export interface Addon {
  select(isa: string | undefined): { isa: string; available: string[]; napi: number };
  runLogits(...args: unknown[]): NativeResult;
  candidates(
    ...args: unknown[]
  ): NativeResult | { ids: Uint32Array; probs: Float32Array; offsets: Uint32Array };
  multiplyAddRate(threads: number): number;
  Head: new (spec: object) => NativeHead;
}
export interface NativeHead {
  run(...args: unknown[]): NativeResult;
  runAsync(...args: unknown[]): Promise<NativeResult>;
  readRows(matrix: 0 | 1, ids: Uint32Array, out: Float32Array): NativeResult;
  readBytes(matrix: 0 | 1, offset: number, out: Uint8Array): NativeResult;
  timeRead(): number;
  close(): void;
}
/** Nothing: done. Else status, row, id. */
export type NativeResult = undefined | [status: number, row: number, id: number];

/** The package's folder: this file is at lib/ or dist/ in it. */
const root = join(__dirname, '..');

/** glibc or musl, where the question arises. */
function libc(): string {
  if (process.platform !== 'linux') return '';
  const report = process.report as { excludeNetwork?: boolean; getReport(): unknown };
  report.excludeNetwork = true; // or it looks up every open socket's host
  const { header } = report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime ? 'glibc' : 'musl';
}

/** Where a binary may lie: a build of one's own goes before one that came with the package. */
function places(): string[] {
  const prebuilt = join(root, 'prebuilds', `${process.platform}-${process.arch}`);
  const tag = libc();
  return [
    join(root, 'build', 'Release', 'lmhead.node'),
    ...(tag ? [join(prebuilt, `lmhead.${tag}.node`)] : []),
    join(prebuilt, 'lmhead.node'),
  ];
}

let addon: Addon | undefined;
let failure: LMHeadError | undefined;

function load(): Addon {
  const tried: string[] = [];
  const errors: unknown[] = [];
  for (const path of places()) {
    if (!existsSync(path)) {
      tried.push(`  ${path}: not there`);
      continue;
    }
    try {
      return require(path) as Addon;
    } catch (error) {
      errors.push(error);
      tried.push(`  ${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new LMHeadError(
    'LOAD',
    [
      `no native binary of lmhead for ${process.platform}-${process.arch} ${libc()} could be loaded. Tried:`.replace(
        '  ',
        ' ',
      ),
      ...tried,
      'To build one: npm run build:native in the package folder (needs a C++20 compiler, and CMake or Python for node-gyp).',
      "Or use backend: 'reference', which is slow and needs no binary.",
    ].join('\n'),
    { cause: errors[0] },
  );
}

/** The addon, loaded once. Throws LOAD, or ISA where LMHEAD_ISA names what this machine does not have. */
export function loadAddon(): Addon {
  if (failure) throw failure;
  if (!addon) {
    try {
      const loaded = load();
      chosen = select(loaded);
      addon = loaded;
    } catch (error) {
      failure = error as LMHeadError;
      throw failure;
    }
  }
  return addon;
}

let chosen: { isa: string; available: string[]; napi: number } | undefined;

function select(loaded: Addon) {
  try {
    return loaded.select(process.env.LMHEAD_ISA || undefined);
  } catch (error) {
    throw new LMHeadError('ISA', (error as Error).message, { cause: error });
  }
}

/** The kernel table in use, those there are, and the Node-API version. Throws as loadAddon does. */
export function chosenKernels(): { isa: string; available: string[]; napi: number } {
  loadAddon();
  return chosen!;
}

/** Why there is no native backend; undefined where there is one. */
export function nativeUnavailable(): LMHeadError | undefined {
  try {
    loadAddon();
    return undefined;
  } catch (error) {
    return error as LMHeadError;
  }
}

/** This package's version. */
export function packageVersion(): string {
  return (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version;
}
