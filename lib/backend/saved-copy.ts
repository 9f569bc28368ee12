/** A bounded copy that is kept in a file beside its weights. */
import { LMHeadError } from '../errors';

/** Where it is, to be read. */
export interface CopySource {
  path: string;
  offset: number;
  length: number;
  mmap: boolean;
}

/** What of it is to be written. */
export interface CopyBytes {
  size: number;
  read(offset: number, out: Uint8Array): void;
}

/** What the bytes in a file cannot be. */
export function notTheCopy(path: string): LMHeadError {
  return new LMHeadError(
    'FORMAT',
    `${path}: what it has for the copy that screen keeps is none of its weights; want a file as save writes it`,
  );
}
