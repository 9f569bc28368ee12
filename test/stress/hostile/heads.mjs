/** The heads and samplers that cases call, one of each kind, until code of a case closes it. */
import { LMHead } from '../../../dist/index.mjs';
import { D, numbers, pick, V } from './chance.mjs';

const shared = new Float32Array(new SharedArrayBuffer(4 * V * D));
shared.set(numbers(V * D));
export const norm = () => ({ type: 'rmsnorm', weight: numbers(D), eps: 1e-5 });
const sizes = () => ({ vocabSize: V, hiddenSize: D, norm: norm() });
export const MAKERS = {
  native: () => LMHead.from(numbers(V * D), { ...sizes(), backend: 'native', threads: 2 }),
  borrowed: () => LMHead.from(shared, { ...sizes(), backend: 'native', copy: false, validVocabSize: 66 }),
  halves: () =>
    LMHead.from(new Uint16Array(V * D).fill(0x3c00), { ...sizes(), backend: 'native', dtype: 'bf16' }),
  reference: () => LMHead.from(numbers(V * D), { ...sizes(), backend: 'reference' }),
};
const heads = new Map();
/** The case's head: what getters close, and call while they are read. */
export let head;
const samplers = new Map();
export function someHead() {
  const kind = pick(Object.keys(MAKERS));
  if (!heads.has(kind)) heads.set(kind, MAKERS[kind]());
  head = heads.get(kind);
  head.kind = kind;
}
export function closeHead() {
  head.close();
  heads.delete(head.kind);
  samplers.delete(head.kind);
}
export function sampler() {
  if (!samplers.has(head.kind)) samplers.set(head.kind, head.sampler({ seed: 1, history: [1] }));
  return samplers.get(head.kind);
}
