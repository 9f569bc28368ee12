/** Whether a head's matrix is a copy of the embedding: exporters fold the Transpose of a tied one into an initializer of its own. */
import { type Plan, readBytes } from '../read-plan';
import type { StoredMatrix } from './stored-matrix';
import { bitsOf, type Located, type TensorReader } from './tensor-data';

/** So many values tell most matrices apart. */
const FIRST = 1024;
/** Bytes of each that are held at a time. */
const AT_ONCE = 2 ** 25;

/** Each is read by itself. No model has as many. */
const MOST_COLUMNS = 2 ** 16;

/** @param rows stored row by row; `other` either way */
export function* sameValues(reader: TensorReader, rows: StoredMatrix, other: StoredMatrix): Plan<boolean> {
  const [a, b] = [rows.tensor, other.tensor];
  if (
    rows.quantized ||
    other.quantized ||
    rows.turned ||
    rows.columns > MOST_COLUMNS ||
    rows.rows !== other.rows ||
    rows.columns !== other.columns ||
    a.type !== b.type ||
    a.encoding !== 'bytes' ||
    b.encoding !== 'bytes'
  ) {
    return false;
  }
  const { rows: v, columns: d } = rows;
  const each = bitsOf(a.type)! / 8;
  const [at, its] = [yield* reader.locate(a), yield* reader.locate(b)];
  const bytes = ({ path, begin }: Located, first: number, count: number) =>
    readBytes(path, { offset: begin + first * each, length: count * each });
  const some = Math.min(v, FIRST);
  const start = yield* bytes(at, 0, some * d);
  const line = yield* bytes(its, 0, other.turned ? some : some * d);
  const isSame = (one: Uint8Array, i: number, two: Uint8Array, j: number) => {
    for (let k = 0; k < each; k++) if (one[i * each + k] !== two[j * each + k]) return false;
    return true;
  };
  for (let i = 0; i < some; i++) if (!isSame(start, i * d, line, other.turned ? i : i * d)) return false;
  const count = Math.max(1, Math.floor(AT_ONCE / (d * each)));
  for (let first = 0; first < v; first += count) {
    const most = Math.min(count, v - first);
    const block = yield* bytes(at, first * d, most * d);
    if (!other.turned) {
      if (Buffer.compare(block, yield* bytes(its, first * d, most * d)) !== 0) return false;
      continue;
    }
    for (let k = 0; k < d; k++) {
      const column = yield* bytes(its, k * v + first, most);
      for (let i = 0; i < most; i++) if (!isSame(block, i * d + k, column, i)) return false;
    }
  }
  return true;
}
