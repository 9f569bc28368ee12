/** Compares a backend's logits with the float64 reference's, over the same weights and hidden states. */
import { setImmediate } from 'node:timers/promises';
import type { Epilogue, HeadBackend } from '../backend/backend';
import { minimaOf } from '../dtypes/dequantize';
import { roundedActivations } from '../dtypes/quantized-activations';
import { rowBytes } from '../dtypes/row-format';
import type { Activations, Dtype, Verification } from '../types';
import { LogitDifferences } from './logit-difference';
import { boundedLogitOf, logitOf } from './logits';

/** Rows of E that are unpacked at a time; between them the event loop runs. */
const BLOCK = 256;

/** What is checked: [V,d] and what follows the product. */
export interface VerifiedHead {
  vocabSize: number;
  hiddenSize: number;
  epilogue: Epilogue;
  activations: Activations;
  dtype: Dtype;
}

/**
 * @param hidden [n,d]
 * @throws NAN where a logit is NaN
 */
export async function verifyAgainstReference(
  backend: HeadBackend,
  head: VerifiedHead,
  hidden: Float32Array,
  n: number,
): Promise<Verification> {
  const found: Verification = { ok: true, maxError: 0, bound: 0, argmaxAgrees: true };
  const rounded = new LogitDifferences();
  for (let row = 0; row < n; row++) {
    const h = hidden.subarray(row * head.hiddenSize, (row + 1) * head.hiddenSize);
    await verifyRow(backend, head, h, found, rounded);
  }
  found.ok &&= found.argmaxAgrees;
  if (head.activations !== 'f32') found.rounded = rounded.result();
  return found;
}

async function verifyRow(
  backend: HeadBackend,
  { vocabSize, hiddenSize: d, epilogue, activations, dtype }: VerifiedHead,
  h: Float32Array,
  found: Verification,
  rounded: LogitDifferences,
): Promise<void> {
  const valid = epilogue.validVocabSize;
  const logits = new Float32Array(vocabSize);
  const argmax = new Uint32Array(1);
  await backend.runAsync({ n: 1, hidden: h, hiddenDtype: 'f32', logits, argmax });
  // What the rounding of hidden states does is the caller's wish, and no error.
  const multiplied = activations === 'f32' ? h : roundedActivations(h, d, activations);
  const asTheyAre = activations === 'f32' ? undefined : new Float64Array(valid);
  const chosen = argmax[0];
  /** The reference's best, and the one that the backend chose: its logit may be lower by no more than both bounds. */
  let best = { logit: -Infinity, bound: 0 };
  let its = best;
  const rows = new Float32Array(Math.min(BLOCK, valid) * d);
  for (let first = 0; first < valid; first += BLOCK) {
    const count = Math.min(BLOCK, valid - first);
    const ids = Uint32Array.from({ length: count }, (_, i) => first + i);
    backend.readRows('output', ids, rows.subarray(0, count * d));
    const minima = activations === 'f32' ? undefined : minimaOfRows(backend, dtype, d, first, count);
    for (let i = 0; i < count; i++) {
      const id = first + i;
      const exact = boundedLogitOf(multiplied, rows, i, id, epilogue, minima);
      if (asTheyAre) asTheyAre[id] = logitOf(h, rows, i, id, epilogue);
      // Where both overflow float32 alike there is no error.
      const alike = !Number.isFinite(logits[id]) && logits[id] === Math.fround(exact.logit);
      const error = alike ? 0 : Math.abs(logits[id] - exact.logit);
      found.maxError = Math.max(found.maxError, error);
      found.bound = Math.max(found.bound, exact.bound);
      if (!(error <= exact.bound)) found.ok = false;
      if (exact.logit > best.logit) best = exact;
      if (id === chosen) its = exact;
    }
    await setImmediate();
  }
  if (asTheyAre) rounded.add(asTheyAre, logits.subarray(0, valid));
  if (!(best.logit === its.logit || best.logit - its.logit <= best.bound + its.bound))
    found.argmaxAgrees = false;
}

function minimaOfRows(backend: HeadBackend, dtype: Dtype, d: number, first: number, count: number) {
  const size = rowBytes(dtype, d);
  const bytes = new Uint8Array(count * size);
  backend.readBytes('output', first * size, bytes);
  return minimaOf(bytes, dtype, d);
}
