/** What a command is. */
import type { Streams } from './main';
import type { OptionName, Parsed } from './options';

export interface Command {
  name: string;
  /** One line. */
  summary: string;
  /** Its operand FILE: needed, or not. */
  file: 'required' | 'optional';
  options: readonly OptionName[];
  /** Of these, those it can't do without. */
  required?: readonly OptionName[];
  /** Command lines, each with what it is for. */
  examples: readonly [line: string, purpose: string][];
  /** @returns false where the answer is no */
  run(parsed: Parsed, streams: Streams): Promise<boolean>;
}
