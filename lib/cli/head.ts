/** The head that a command line names. */
import { LMHead } from '../lm-head';
import type { OpenOptions } from '../types';
import type { OptionName, Parsed } from './options';

/** Options of every command that opens a head. */
export const HEAD_OPTIONS: readonly OptionName[] = ['tensor', 'threads', 'backend', 'activations'];

export function openOptions({ text, number, flag }: Parsed): OpenOptions {
  return {
    tensor: text('tensor'),
    threads: number('threads'),
    backend: text('backend') as OpenOptions['backend'],
    activations: text('activations') as OpenOptions['activations'],
    screen: flag('screen') || undefined, // where it is not asked for, a saved head says it
  };
}

/** Works with that head, and closes it whatever comes of it. */
export async function withNamed<T>(parsed: Parsed, work: (head: LMHead) => Promise<T>): Promise<T> {
  return closing(await LMHead.open(parsed.file!, openOptions(parsed)), work);
}

export async function closing<T>(head: LMHead, work: (head: LMHead) => Promise<T>): Promise<T> {
  try {
    return await work(head);
  } finally {
    head.close();
  }
}
