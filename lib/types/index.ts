/**
 * The types of the public API.
 *
 * Shapes: V = vocabSize, d = hiddenSize, n = hidden states in a call, k = how many to keep. All logs are natural.
 * The same number has the same bits whichever method returns it, whatever n is, and for any number of threads
 * (on one CPU path).
 */

export type * from './call';
export type * from './data';
export type * from './head';
export type * from './results';
export type * from './sampling';
