/** Options that are lists or maps: one for all rows, or an array of one per row. */
import { LMHeadError } from '../errors';
import { isArray, reading } from './reading';

/** A list of lists or of maps: one for each row. */
function isRowWise(value: unknown, n: number): boolean {
  if (!isArray(value)) return false;
  return value.length === 0 ? n === 0 : typeof value[0] === 'object' && value[0] !== null;
}

/** Reads an option that is there once for all rows, or once for each. */
export function perRow(value: unknown, name: string, n: number) {
  if (!reading(name, () => isRowWise(value, n))) return { each: false, value: () => value, name: () => name };
  const list = value as unknown[];
  const length = reading(name, () => list.length);
  if (length !== n) throw notPerRow(name, length, n);
  return {
    each: true,
    value: (row: number) => reading(name, () => list[row]),
    name: (row: number) => `${name}[${row}]`,
  };
}

export function notPerRow(name: string, count: number, n: number): LMHeadError {
  return new LMHeadError('SHAPE', `${name}: got ${count} lists; want one for all rows, or ${n}, one per row`);
}
