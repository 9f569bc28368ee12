import { types } from 'node:util';

/** What went wrong, as the tail of `ERR_LMHEAD_…`. */
export type ErrorKind =
  /** An array's length or dimensions do not fit the head. */
  | 'SHAPE'
  /** A type of element that is not supported there. */
  | 'DTYPE'
  /** A number or option outside its range. */
  | 'RANGE'
  /** An argument of the wrong JavaScript type. */
  | 'ARGUMENT'
  /** The file holds no tensor by that name. */
  | 'TENSOR'
  /** The file is malformed. */
  | 'FORMAT'
  /** The file cannot be opened, read or mapped, or has changed since it was mapped. */
  | 'IO'
  /** The head is closed. */
  | 'CLOSED'
  /** The output array is in use by a pending call. */
  | 'BUSY'
  /** No token can be chosen from a row with NaN. */
  | 'NAN'
  /** LMHEAD_ISA names an instruction set that is unknown or unsupported here. */
  | 'ISA'
  /** The native addon cannot be loaded. */
  | 'LOAD'
  /** The call was canceled by its AbortSignal. */
  | 'ABORTED'
  /** There is not enough memory. */
  | 'MEMORY';

/** Every error that this library throws. `code` is stable; `message` names the argument, what it got and what it wanted. */
export class LMHeadError extends Error {
  override readonly name = 'LMHeadError';
  readonly code: `ERR_LMHEAD_${string}`;

  /** @param kind for example 'SHAPE', which gives the code `ERR_LMHEAD_SHAPE` */
  constructor(kind: ErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = `ERR_LMHEAD_${kind}`;
  }
}

/** An error of Node's own, which has a code. Test runners load a library into another realm than Node's, so that its class is no help. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return !(error instanceof LMHeadError) && types.isNativeError(error) && 'code' in error;
}
