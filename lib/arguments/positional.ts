/** Arguments that are options now, and once were positional. */
import { LMHeadError } from '../errors';
import { got } from './describe';

/** @param more what came behind the options */
export function refusePositionalMetric(options: unknown, more: readonly unknown[]): void {
  if (typeof options === 'string') refuseOptions(options, `{ metric: '${options.slice(0, 20)}' }`);
  refuseMore(more, 'nearest(idOrVector, k, { metric, rows })');
}

/** As `refusePositionalMetric`. */
export function refusePositionalLogProbs(options: unknown, more: readonly unknown[]): void {
  if (ArrayBuffer.isView(options)) refuseOptions(options, '{ draftLogProbs }');
  refuseMore(more, 'verifyDraft(hidden, draftIds, { draftLogProbs, … })');
}

function refuseOptions(options: unknown, wanted: string): never {
  throw new LMHeadError('ARGUMENT', `options: got ${got(options)}; want ${wanted}`);
}

function refuseMore(more: readonly unknown[], wanted: string): void {
  if (more.some(argument => argument !== undefined)) {
    throw new LMHeadError('ARGUMENT', `arguments: got ${3 + more.length}; want ${wanted}`);
  }
}
