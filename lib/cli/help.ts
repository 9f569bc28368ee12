/** What `--help` shows. */
import type { Command } from './command';
import { kindOf, optionsOf } from './options';

const EXIT =
  'Exit code: 0 done; 1 the file, its contents or the machine is at fault; 2 the command line is; 130 stopped by Ctrl-C.';

export function overview(commands: Record<string, Command>): string {
  const width = Math.max(...Object.keys(commands).map(name => name.length));
  return [
    'The last layer of a language model: what a file of weights holds, whether this machine computes it right,',
    'and what it says of hidden states.',
    '',
    'Usage: lmhead COMMAND [FILE] [OPTION…]',
    '',
    'Commands:',
    ...Object.values(commands).map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    '',
    'Examples:',
    ...Object.values(commands).map(({ examples }) => `  ${examples[0][0]}`),
    '',
    'lmhead COMMAND --help says more. Results go to the standard output, as a table or with --json as JSON, one value',
    'a line; errors and progress to the standard error.',
    EXIT,
    '',
  ].join('\n');
}

export function helpFor(command: Command): string {
  const options = optionsOf(command).map(name => {
    const { value, short, help } = kindOf(command, name);
    const flags = `${short ? `-${short}, ` : ''}--${name}${value ? ` ${value}` : ''}`;
    return [flags, help] as const;
  });
  const width = Math.max(...options.map(([flags]) => flags.length));
  const needed = (command.required ?? []).map(name => `--${name} ${kindOf(command, name).value} `).join('');
  const operands = [command.file === 'required' ? 'FILE' : '[FILE]', command.second]
    .filter(Boolean)
    .join(' ');
  return [
    `${command.summary}.`,
    '',
    `Usage: lmhead ${command.name} ${operands} ${needed}[OPTION…]`,
    '',
    'Options:',
    ...options.map(([flags, help]) => `  ${flags.padEnd(width)}  ${help}`),
    '',
    'Examples:',
    ...command.examples.flatMap(([line, purpose]) => [`  ${line}`, `      ${purpose}`]),
    '',
    EXIT,
    '',
  ].join('\n');
}
