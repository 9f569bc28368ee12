/** The native addon: what it exports, and the one instance of it. */

import { LMHeadError } from '../errors';
import type { Candidates } from '../types';
import { loadBinary } from './binary';
import type { NativeScreening } from './screening';

/** What native/addon exports. */
interface Binary {
  /** The addon for this copy of the library: whatever it throws of its own is an error of this class. */
  bind(errorClass: typeof LMHeadError): Addon;
}
/** `lib/backend/native.ts` knows the arguments' order. */
export interface Addon {
  select(isa: string | undefined): { isa: string; available: string[]; napi: number };
  runLogits(...args: unknown[]): NativeResult;
  multiplyAddRate(threads: number, type: number): number;
  externalMemory(): number;
  renewGuards(): void;
  addressOf(bytes: Uint8Array): number;
  Head: new (spec: object) => NativeHead;
}
export interface NativeHead {
  run(...args: unknown[]): NativeResult;
  runAsync(...args: unknown[]): Promise<NativeResult>;
  runAll(list: unknown[][]): NativeResult;
  runAllAsync(list: unknown[][], ticket?: number, told?: Float64Array): Promise<NativeResult>;
  quantize(
    first: number,
    count: number,
    dtype: number,
    bytes: Uint8Array,
    errors: Float64Array,
    ticket?: number,
  ): Promise<NativeResult>;
  makeCopy(ticket?: number): Promise<NativeResult>;
  useCopy(): NativeResult;
  copiedRows(): number;
  screening(): NativeScreening | undefined;
  abort(ticket: number): void;
  readCopy(offset: number, out: Uint8Array): NativeResult;
  loadCopy(path: string, offset: number, length: number, mmap: boolean): 0 | 1;
  readRows(matrix: 0 | 1, ids: Uint32Array, out: Float32Array): NativeResult;
  readBytes(matrix: 0 | 1, offset: number, out: Uint8Array): NativeResult;
  timeRead(): number;
  token(matrix: 0 | 1): string;
  close(): void;
}
/** Nothing: done. Candidates, where they were asked for. Else status, row, id, and which one of the calls. */
export type NativeResult = undefined | Candidates | NativeFailure;
export type NativeFailure = [status: number, row: number, id: number, call: number];

let addon: Addon | undefined;
let failure: LMHeadError | undefined;

/** The addon, loaded once. Throws LOAD, or ISA where LMHEAD_ISA names what this machine does not have. */
export function loadAddon(): Addon {
  if (failure) throw failure;
  if (!addon) {
    try {
      const loaded = (loadBinary() as Binary).bind(LMHeadError);
      chosen = loaded.select(process.env.LMHEAD_ISA || undefined);
      addon = loaded;
    } catch (error) {
      failure =
        error instanceof LMHeadError
          ? error
          : new LMHeadError('LOAD', `the native binary does not start: ${(error as Error).message}`, {
              cause: error,
            });
      throw failure;
    }
  }
  return addon;
}

/** The addon, where something has loaded it. */
export function loadedAddon(): Addon | undefined {
  return addon;
}

let chosen: { isa: string; available: string[]; napi: number } | undefined;

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
