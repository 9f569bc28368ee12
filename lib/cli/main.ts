/** Which command, and what became of it. */
import type { Writable } from 'node:stream';
import { LMHeadError } from '../errors';
import { VERSION } from '../version';
import { bench } from './bench';
import type { Command } from './command';
import { helpFor, overview } from './help';
import { info } from './info';
import { parse, UsageError } from './options';
import { score } from './score';
import { topk } from './topk';
import { verify } from './verify';

const COMMANDS: Record<string, Command> = { info, verify, topk, score, bench };

/** Exit codes. */
const DONE = 0;
/** A file, its contents or the machine is at fault, or `verify` found a difference. */
const FAILED = 1;
/** The command line is at fault. */
const MISUSED = 2;

export interface Streams {
  /** Results, and nothing else. */
  stdout: Writable;
  /** Errors and, where it is a terminal, progress. */
  stderr: Writable & { isTTY?: boolean };
}

/** Runs a command line (without `node` and the script). @returns the exit code */
export async function main(args: string[], streams: Streams): Promise<number> {
  try {
    const [name, ...rest] = args;
    if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
      streams.stdout.write(rest[0] === undefined ? overview(COMMANDS) : helpFor(commandNamed(rest[0])));
      return name === undefined ? MISUSED : DONE;
    }
    if (name === '--version' || name === '-v') {
      streams.stdout.write(`${VERSION}\n`);
      return DONE;
    }
    const command = commandNamed(name);
    const parsed = parse(command, rest);
    if (parsed === 'help') {
      streams.stdout.write(helpFor(command));
      return DONE;
    }
    return (await command.run(parsed, streams)) ? DONE : FAILED;
  } catch (error) {
    const misused = error instanceof UsageError;
    const hint = misused ? '; lmhead --help shows how' : '';
    streams.stderr.write(`lmhead: ${oneLine(error)}${hint}\n`);
    if (!misused && !(error instanceof LMHeadError) && process.env.DEBUG) console.error(error);
    return misused ? MISUSED : FAILED;
  }
}

function commandNamed(name: string): Command {
  if (Object.hasOwn(COMMANDS, name)) return COMMANDS[name];
  throw new UsageError(`'${name}': want one of ${Object.keys(COMMANDS).join(', ')}`);
}

function oneLine(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  const text = (message ?? String(error)).trim().replace(/\s*\n[-\s]*/g, '; ');
  return error instanceof LMHeadError ? `${code}: ${text}` : text;
}
