/** The options of the commands, and their values. */
import { parseArgs } from 'node:util';
import { nearestName } from '../arguments/nearest-name';
import { ACTIVATIONS, WHOLE_WEIGHTS } from '../dtypes/quantized-activations';
import type { Command } from './command';

/** The command line is wrong. */
export class UsageError extends Error {}

export interface OptionKind {
  /** What its value is called in the help; a switch has none. */
  value?: string;
  help: string;
  short?: string;
  /** Of a numeric value: the least and the most it may be, and whether it must be whole. */
  number?: { least: number; most: number; whole: boolean };
  choices?: readonly string[];
}

const COUNT = { least: 1, most: 2 ** 32 - 1, whole: true };

export const OPTIONS = {
  hidden: { value: 'H.npy', help: 'hidden states, an array [n, d] of float32, float16 or float64' },
  targets: { value: 'T.npy', help: 'the tokens to score, an array [n] of integers' },
  k: { value: 'K', short: 'k', help: 'how many tokens of each position (default 10)', number: COUNT },
  temperature: {
    value: 'T',
    help: 'divides the logits that probabilities are made of (default 1)',
    number: { least: Number.MIN_VALUE, most: Number.MAX_VALUE, whole: false },
  },
  norm: { help: "apply the model's final norm to the hidden states first" },
  'ignore-index': {
    value: 'I',
    help: 'targets that count in nothing, such as -100',
    number: { least: -(2 ** 53) + 1, most: 2 ** 53 - 1, whole: true },
  },
  each: { help: 'print every position, not the summary alone' },
  entropy: { help: 'compute the entropy of every distribution too' },
  tensor: { value: 'NAME', help: 'the output matrix in FILE (default: found by the names that models use)' },
  threads: {
    value: 'N',
    help: 'how many threads (default: what is available)',
    number: { ...COUNT, most: 1024 },
  },
  backend: {
    value: 'NAME',
    help: 'auto (default), native or reference',
    choices: ['auto', 'native', 'reference'],
  },
  activations: {
    value: 'TYPE',
    help: `f32 (default), or i8 or i16: round hidden states, over weights in ${WHOLE_WEIGHTS.join(', ')}`,
    choices: ACTIVATIONS,
  },
  positions: {
    value: 'N',
    help: 'how many random hidden states (default 4)',
    number: { ...COUNT, most: 2 ** 20 },
  },
  vocab: {
    value: 'V',
    help: 'vocabulary size of random weights, without FILE (default 50257)',
    number: COUNT,
  },
  size: { value: 'D', help: 'hidden size of random weights, without FILE (default 768)', number: COUNT },
  dtype: {
    value: 'TYPE',
    help: 'f32, f16 or bf16 (default) for random weights',
    choices: ['f32', 'f16', 'bf16'],
  },
  output: { value: 'HEAD.safetensors', short: 'o', help: 'the file to write' },
  force: { help: 'replace the file to write, where there is one' },
  json: { help: 'print JSON, one value a line' },
  help: { help: 'show this', short: 'h' },
} satisfies Record<string, OptionKind>;

export type OptionName = keyof typeof OPTIONS;

/** Values by option: numbers are numbers, switches true. */
export interface Parsed {
  file: string | undefined;
  text(name: OptionName): string | undefined;
  number(name: OptionName): number | undefined;
  flag(name: OptionName): boolean;
}

/** Refuses two ways to say the same. @throws UsageError naming the second of those that are given */
export function exclusive(
  command: string,
  parsed: Parsed,
  first: 'FILE' | OptionName,
  others: readonly OptionName[],
): void {
  const given = (name: OptionName) => parsed.text(name) !== undefined;
  if (first === 'FILE' ? parsed.file === undefined : !given(first)) return;
  const other = others.find(given);
  if (other !== undefined)
    throw new UsageError(
      `${command}: got ${first === 'FILE' ? first : `--${first}`} and --${other}; want one of them`,
    );
}

/** Options that every command takes. */
export const COMMON: readonly OptionName[] = ['json', 'help'];

export function optionsOf(command: Command): OptionName[] {
  return [...command.options, ...COMMON];
}

/** What an option is in a command. */
export function kindOf(command: Command, name: OptionName): OptionKind {
  return { ...OPTIONS[name], ...command.kinds?.[name] };
}

/** @throws UsageError */
export function parse(command: Command, args: string[]): Parsed | 'help' {
  const names = optionsOf(command);
  const { values, positionals } = parsed(command, names, args);
  if (values.help) return 'help';
  const [file, ...more] = positionals;
  if (more.length > 0) throw new UsageError(`${command.name}: got the operand '${more[0]}' too many`);
  if (file === undefined && command.file === 'required') throw new UsageError(`${command.name}: want a FILE`);
  for (const name of command.required ?? [])
    if (values[name] === undefined)
      throw new UsageError(`${command.name}: want --${name} ${kindOf(command, name).value}`);

  const result = new Map<string, string | number | boolean>();
  for (const name of names) {
    const value = values[name];
    if (value !== undefined) result.set(name, checked(name, kindOf(command, name), value));
  }
  return {
    file,
    text: name => result.get(name) as string | undefined,
    number: name => result.get(name) as number | undefined,
    flag: name => result.get(name) === true,
  };
}

function parsed(command: Command, names: OptionName[], args: string[]) {
  const options = Object.fromEntries(
    names.map(name => {
      const { value, short } = kindOf(command, name);
      return [
        name,
        { type: value ? ('string' as const) : ('boolean' as const), ...(short ? { short } : {}) },
      ];
    }),
  );
  try {
    return parseArgs({ args: joinNegative(args), options, allowPositionals: true, strict: true });
  } catch (error) {
    const message = (error as Error).message
      .split('\n')[0]
      .replace(/\. To specify.*$/, '')
      .replace(/ is ambiguous\.$/, ' missing');
    const [, unknown] = /^Unknown option '([^']*)'/.exec(message) ?? [];
    const want = unknown === undefined ? '' : `; want ${nearestName(unknown, names.map(flagOf))}`;
    throw new UsageError(`${command.name}: ${message}${want}`, { cause: error });
  }
}

/** As it is most often written. */
function flagOf(name: OptionName): string {
  const { short }: OptionKind = OPTIONS[name];
  return short === name ? `-${short}` : `--${name}`;
}

/** `--ignore-index -100` means what `--ignore-index=-100` does. */
function joinNegative(args: string[]): string[] {
  const joined: string[] = [];
  for (const arg of args) {
    const before = joined.at(-1);
    if (/^-\d/.test(arg) && before?.startsWith('--') && !before.includes('='))
      joined[joined.length - 1] += `=${arg}`;
    else joined.push(arg);
  }
  return joined;
}

function checked(name: string, { number, choices }: OptionKind, value: string | boolean) {
  if (typeof value === 'boolean') return value;
  if (choices && !choices.includes(value))
    throw new UsageError(`--${name}: got '${value}'; want ${choices.join(', ')}`);
  if (!number) return value;
  const { least, most, whole } = number;
  const parsedNumber = value.trim() === '' ? Number.NaN : Number(value);
  if (parsedNumber >= least && parsedNumber <= most && (!whole || Number.isInteger(parsedNumber)))
    return parsedNumber;
  const range = whole ? `an integer from ${least} to ${most}` : 'a number above 0';
  throw new UsageError(`--${name}: got '${value}'; want ${range}`);
}
