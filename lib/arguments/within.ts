/** Messages about one of several things that were given. */
import { type ErrorKind, LMHeadError } from '../errors';

const ABOUT_ARGUMENTS = ['SHAPE', 'DTYPE', 'RANGE', 'ARGUMENT'].map(kind => `ERR_LMHEAD_${kind}`);

/** What `read` gives; its errors about arguments are about those of `name`, such as `drafts[2]`. */
export function within<T>(name: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof LMHeadError) || !ABOUT_ARGUMENTS.includes(error.code)) throw error;
    const kind = error.code.slice('ERR_LMHEAD_'.length) as ErrorKind;
    throw new LMHeadError(kind, `${name}.${error.message}`, { cause: error.cause });
  }
}
