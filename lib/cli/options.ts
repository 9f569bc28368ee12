/** The options of the commands, and their values. */
import { parseArgs } from 'node:util';
import { nearestName } from '../arguments/nearest-name';
import { ACTIVATIONS } from '../dtypes/quantized-activations';
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
  /** What it says where it stands without a value. */
  bare?: string;
}

const COUNT = { least: 1, most: 2 ** 32 - 1, whole: true };
const SHARE = { least: 0, most: 1, whole: false };

export const OPTIONS = {
  hidden: {
    value: 'H.npy',
    help: 'hidden states, an array [n, d] or [1, n, d] of float32, float16 or float64; - reads it from the standard input',
  },
  targets: { value: 'T.npy', help: 'the tokens to score, an array [n] of integers' },
  k: { value: 'K', short: 'k', help: 'how many tokens of each position (default 10)', number: COUNT },
  temperature: {
    value: 'T',
    help: 'divides the logits that probabilities are made of (default 1)',
    number: { least: Number.MIN_VALUE, most: Number.MAX_VALUE, whole: false },
  },
  limit: { value: 'N', help: 'the first N positions, and no more', number: COUNT },
  tokenizer: {
    value: 'FILE',
    help: 'a tokenizer.json or .gguf with the texts of tokens (default: what lies beside the weights), or none',
  },
  norm: { help: "apply the model's final norm to the hidden states first" },
  'last-normed': { help: "the last layer's state is already behind the final norm, as transformers' is" },
  translators: {
    value: 'FILE',
    help: "a tuned lens: the layers' affine maps, as the package tuned-lens saves them (params.pt, .safetensors, .npz)",
  },
  affine: { help: 'they are A·h + b, not h + A·h + b' },
  id: { value: 'N', help: 'the token whose row is compared', number: { ...COUNT, least: 0 } },
  token: { value: 'TEXT', help: 'the same by its text, such as " cat"' },
  metric: { value: 'NAME', help: 'dot (default) or cosine', choices: ['dot', 'cosine'] },
  'top-k': { value: 'N', help: 'draw among the N likeliest', number: COUNT },
  'top-p': { value: 'P', help: 'draw among the likeliest whose mass reaches P', number: SHARE },
  'min-p': { value: 'P', help: 'draw among those of at least P times the likeliest', number: SHARE },
  'typical-p': { value: 'P', help: 'draw among the most typical whose mass reaches P', number: SHARE },
  seed: {
    value: 'N',
    help: 'of the random numbers (default: drawn from the system)',
    number: { least: 0, most: 2 ** 53 - 1, whole: true },
  },
  out: { value: 'FILE', help: 'where to write what is made' },
  html: { value: 'FILE', help: 'write a page for a browser, and print no table' },
  inputs: {
    value: 'I.npy',
    help: 'the tokens at the positions, for the headings of --html, an array [n] of integers',
  },
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
    help: 'of hidden states: f32 (default), i8 or i16 over quantized weights but q2_k and mlx, bf16 over bf16',
    choices: ACTIVATIONS,
  },
  screen: { help: 'make the copy that screening reads first, and hold every row of it to its bound' },
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
  verify: { help: 'compare the body and the head with the whole model, in onnxruntime-node' },
  force: { help: 'replace the file to write, where there is one' },
  json: { help: 'print JSON, one value a line' },
  help: { help: 'show this', short: 'h' },
} satisfies Record<string, OptionKind>;

export type OptionName = keyof typeof OPTIONS;

/** Values by option: numbers are numbers, switches true. */
export interface Parsed {
  file: string | undefined;
  second: string | undefined;
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

export function kindOf(command: Command, name: OptionName): OptionKind {
  return command.own?.[name] ?? OPTIONS[name];
}

/** @throws UsageError */
export function parse(command: Command, args: string[]): Parsed | 'help' {
  const names = optionsOf(command);
  const { values, positionals } = parsed(command, names, args);
  if (values.help) return 'help';
  const [file, ...more] = positionals;
  const second = command.second === undefined ? undefined : more.shift();
  if (more.length > 0) throw new UsageError(`${command.name}: got the operand '${more[0]}' too many`);
  if (file === undefined && command.file === 'required') throw new UsageError(`${command.name}: want a FILE`);
  if (command.second !== undefined && second === undefined)
    throw new UsageError(`${command.name}: want a second file, ${command.second}`);
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
    second,
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
    return parseArgs({
      args: joinBare(command, names, joinNegative(args)),
      options,
      allowPositionals: true,
      strict: true,
    });
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

/** An option whose value may be left out gets the one that stands for that. */
function joinBare(command: Command, names: OptionName[], args: string[]): string[] {
  return args.map((arg, i) => {
    const name = names.find(each => arg === `--${each}`);
    const bare = name && kindOf(command, name).bare;
    const next = args[i + 1];
    return bare !== undefined && (next === undefined || next.startsWith('-')) ? `${arg}=${bare}` : arg;
  });
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
  const range = whole
    ? `an integer from ${least} to ${most}`
    : most === 1
      ? `a number from ${least} to 1`
      : least === 0
        ? 'a number of at least 0'
        : 'a number above 0';
  throw new UsageError(`--${name}: got '${value}'; want ${range}`);
}
