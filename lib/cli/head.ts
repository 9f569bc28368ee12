/** The head that a command line names. */
import { LMHead } from '../lm-head';
import type { OpenOptions } from '../types';
import type { OptionName, Parsed } from './options';

/** Options of every command that opens a head. */
export const HEAD_OPTIONS: readonly OptionName[] = ['tensor', 'threads', 'backend', 'activations'];

export function openOptions({ text, number }: Parsed): OpenOptions {
  return {
    tensor: text('tensor'),
    threads: number('threads'),
    backend: text('backend') as OpenOptions['backend'],
    activations: text('activations') as OpenOptions['activations'],
  };
}

export function openNamed(parsed: Parsed): Promise<LMHead> {
  return LMHead.open(parsed.file!, openOptions(parsed));
}
