/** Holds a native head's bounded copy, row by row, to what screening rests on. */
import { setImmediate } from 'node:timers/promises';
import type { HeadBackend } from '../backend/backend';
import { NativeBackend } from '../backend/native';
import {
  BLOCK,
  boundOf,
  dequantizeRow,
  estimateOf,
  lengthOf,
  quantizedRowIn,
  type Rotation,
  rotated,
  rotationOf,
  searchedState,
  TILE_ROWS,
  tileBytes,
} from '../reference/screening';

/** What was found, of all rows. */
export interface CopyCheck {
  /** Rows that something is held of. */
  held: number;
  /** Whether all of it is so: ρ, N, and every product within its bound. */
  ok: boolean;
  /** The largest |u − û| over its bound; at most 1 where all is well. */
  worst: number;
  /** The first row that is not as the copy says. */
  badRow: number | undefined;
}

/** A head's copy, unpacked to what the proof is about. */
export class CopyReader {
  readonly rotation: Rotation;
  /** μ */
  readonly mean: Float32Array;
  readonly #backend: NativeBackend;
  readonly #tile: Uint8Array;

  /** @param rows of E */
  constructor(backend: HeadBackend, rows: number, columns: number) {
    if (!(backend instanceof NativeBackend)) throw new Error('the reference has no copy');
    this.#backend = backend;
    this.rotation = rotationOf(columns);
    const size = tileBytes(this.rotation.padded / BLOCK);
    this.#tile = new Uint8Array(size);
    this.mean = new Float32Array(columns);
    backend.readCopy(Math.ceil(rows / TILE_ROWS) * size, new Uint8Array(this.mean.buffer));
  }

  /** From a tile's first row on: the rows of the tile. */
  tileAt(row: number) {
    this.#backend.readCopy((row / TILE_ROWS) * this.#tile.length, this.#tile);
    return (i: number) => quantizedRowIn(this.#tile, this.rotation, i);
  }
}

/**
 * @param hidden [n,d], each of which is compared with every row of E
 * @param rows of E
 * @param told how many rows have been looked at; what it throws ends the check
 */
export async function checkCopy(
  backend: HeadBackend,
  rows: number,
  hidden: Float32Array,
  d: number,
  told?: (done: number) => void,
): Promise<CopyCheck> {
  const copy = new CopyReader(backend, rows, d);
  const { rotation, mean } = copy;
  const states = Array.from({ length: hidden.length / d }, (_, i) => {
    const h = hidden.subarray(i * d, (i + 1) * d);
    return { h, state: searchedState(rotation, h, mean) };
  });
  const found: CopyCheck = { held: 0, ok: true, worst: 0, badRow: undefined };
  const e = new Float32Array(TILE_ROWS * d);
  for (let first = 0; first < rows; first += TILE_ROWS) {
    told?.(first);
    const count = Math.min(TILE_ROWS, rows - first);
    const ids = Uint32Array.from({ length: count }, (_, i) => first + i);
    backend.readRows('output', ids, e.subarray(0, count * d));
    const rowAt = copy.tileAt(first);
    for (let i = 0; i < count; i++) {
      const row = e.subarray(i * d, (i + 1) * d);
      const held = rowAt(i);
      if (held.rho === Infinity) continue;
      found.held++;
      const x = Float64Array.from(row, (each, k) => each - mean[k]);
      const y = rotated(rotation, x);
      const left = lengthOf(dequantizeRow(held).map((each, k) => y[k] - each));
      let ok = left <= held.rho && lengthOf(x) <= held.norm;
      for (const { h, state } of states) {
        let u = 0;
        for (let k = 0; k < d; k++) u += h[k] * row[k];
        const off = Math.abs(u - estimateOf(state, held)) / boundOf(state, held, mean);
        ok &&= off <= 1;
        found.worst = Math.max(found.worst, off);
      }
      if (ok) continue;
      found.ok = false;
      found.badRow ??= first + i;
    }
    await setImmediate();
  }
  return found;
}
