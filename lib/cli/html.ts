/** Pages on their way to a file. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { isSystemError, LMHeadError } from '../errors';

/** @throws LMHeadError IO */
export async function writePage(path: string, html: string): Promise<void> {
  try {
    await writeFile(resolve(path), html);
  } catch (cause) {
    if (!isSystemError(cause)) throw cause;
    throw new LMHeadError('IO', `html: ${cause.message}; want a place that can be written to`, { cause });
  }
}
