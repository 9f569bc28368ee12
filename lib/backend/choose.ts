/** Native or reference: which backend to use, and what to say where it cannot be the one that was wished for. */

import { requireScreenable } from '../arguments/screenable';
import { oneOf } from '../arguments/values';
import { requireRoundable } from '../dtypes/quantized-activations';
import type { LMHeadError } from '../errors';
import { createReferenceHead, referenceLogits } from '../reference/backend';
import type { Capabilities } from '../types';
import { VERSION } from '../version';
import { warn } from '../warning';
import { nativeUnavailable } from './addon';
import type { HeadBackend, HeadSpec, LogitsBackend } from './backend';
import { createNativeHead, nativeCapabilities, nativeLogits } from './native';

export type BackendKind = 'native' | 'reference';

let warned = false;

const CHOICES = ['auto', 'native', 'reference'] as const;

/**
 * @param wished the option `backend`; where that is 'auto' or left out, LMHEAD_BACKEND decides
 * @throws LOAD where 'native' is wished for and there is none; ISA where LMHEAD_ISA names what is not to be had; ARGUMENT
 */
export function chooseBackend(wished?: unknown): BackendKind {
  const option = oneOf(wished, 'backend', CHOICES);
  const choice =
    option === 'auto' ? oneOf(process.env.LMHEAD_BACKEND || undefined, 'LMHEAD_BACKEND', CHOICES) : option;
  if (choice === 'reference') return choice;
  const problem = nativeUnavailable();
  if (!problem) return 'native';
  if (choice === 'native' || mustBeSaid(problem)) throw problem;
  if (!warned) {
    warned = true;
    warn('LMHEAD_REFERENCE', `lmhead computes in plain JavaScript, which is slow: ${problem.message}`);
  }
  return 'reference';
}

/** A wrong LMHEAD_ISA is the user's own words: never worked around. */
function mustBeSaid(problem: LMHeadError): boolean {
  return problem.code === 'ERR_LMHEAD_ISA';
}

/** @throws DTYPE, RANGE where the weights don't go with the spec's `activations`; and what the backend throws */
export function createHead(kind: BackendKind, spec: HeadSpec): HeadBackend {
  requireRoundable(spec.activations, spec.output.dtype, spec.hiddenSize);
  if (spec.screen) requireScreenable(spec);
  return kind === 'native' ? createNativeHead(spec) : createReferenceHead(spec);
}

let forLogits: LogitsBackend | undefined;

/** The backend of the functions over given logits: as 'auto' chooses, once. */
export function logitsBackend(): LogitsBackend {
  forLogits ??= logitsBackendOf(chooseBackend());
  return forLogits;
}

/** That of a head. */
export function logitsBackendOf(kind: 'native' | 'reference'): LogitsBackend {
  return kind === 'native' ? nativeLogits() : referenceLogits;
}

/**
 * What runs here: the kernel table in use, the names that `LMHEAD_ISA` takes on this machine (best first), the default
 * number of threads, the package's version, and the Node-API version of the addon. Where no binary loads, `isa` is
 * 'reference', `available` is empty and `napi` is 0.
 * @throws LMHeadError ISA: LMHEAD_ISA names an instruction set that is unknown or unsupported here
 */
export function capabilities(): Capabilities {
  const problem = nativeUnavailable();
  if (!problem) return nativeCapabilities();
  if (mustBeSaid(problem)) throw problem;
  return { isa: 'reference', available: [], threads: 1, version: VERSION, napi: 0 };
}
