/** What a command is. */
import type { OptionKind, OptionName, Parsed } from './options';
import type { Terminal } from './streams';

export interface Command {
  name: string;
  /** One line. */
  summary: string;
  /** Its operand FILE: needed, or not. */
  file: 'required' | 'optional';
  options: readonly OptionName[];
  /** Of these, those it can't do without. */
  required?: readonly OptionName[];
  /** What options are here, where it isn't what they are elsewhere. */
  kinds?: Partial<Record<OptionName, Partial<OptionKind>>>;
  /** Command lines, each with what it is for. */
  examples: readonly [line: string, purpose: string][];
  /** @returns false where the answer is no */
  run(parsed: Parsed, terminal: Terminal): Promise<boolean>;
}
