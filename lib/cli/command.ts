/** What a command is. */
import type { OptionKind, OptionName, Parsed } from './options';
import type { Terminal } from './streams';

export interface Command {
  name: string;
  /** One line. */
  summary: string;
  /** Its operand FILE: needed, or not. */
  file: 'required' | 'optional';
  /** A second operand that is needed: what it is called. */
  second?: string;
  options: readonly OptionName[];
  /** Options that mean something else here than elsewhere. */
  own?: Partial<Record<OptionName, OptionKind>>;
  /** Of these, those it can't do without. */
  required?: readonly OptionName[];
  /** Command lines, each with what it is for. */
  examples: readonly [line: string, purpose: string][];
  /** @returns false where the answer is no */
  run(parsed: Parsed, terminal: Terminal): Promise<boolean>;
}
