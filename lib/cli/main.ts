/** Which command, and what became of it. */
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { nearestName } from '../arguments/nearest-name';
import { LMHeadError } from '../errors';
import { VERSION } from '../version';
import { bench } from './bench';
import type { Command } from './command';
import { convert } from './convert';
import { cut } from './cut';
import { diff } from './diff';
import { helpFor, overview } from './help';
import { info } from './info';
import { lens } from './lens';
import { nearest } from './nearest';
import { parse, UsageError } from './options';
import { quantize } from './quantize';
import { sample } from './sample';
import { score } from './score';
import { Interrupted, Output, ReaderGone, type Streams, type Terminal } from './streams';
import { topk } from './topk';
import { verify } from './verify';

const COMMANDS: Record<string, Command> = {
  info,
  verify,
  topk,
  sample,
  score,
  lens,
  nearest,
  diff,
  quantize,
  convert,
  cut,
  bench,
};

/** Exit codes; ended by a signal of the system, it is 128 and that one's number. */
const DONE = 0;
/** A file, its contents or the machine is at fault, or `verify` found a difference. */
const FAILED = 1;
/** The command line is at fault. */
const MISUSED = 2;

/**
 * Runs a command line (without `node` and the script).
 * @param signal aborted by a signal of the system, whose name is its reason
 * @returns the exit code
 */
export async function main(
  args: string[],
  streams: Streams,
  signal: AbortSignal = new AbortController().signal,
): Promise<number> {
  const { stderr } = streams;
  const out = new Output(streams.stdout, signal);
  const terminal: Terminal = {
    out,
    stderr,
    get stdin() {
      return streams.stdin;
    },
    signal,
  };
  let code = DONE;
  try {
    code = await run(args, terminal);
    await out.end();
    return code;
  } catch (error) {
    // A reader that has seen enough (head, less) is no error.
    if (error instanceof ReaderGone) return code;
    if (signal.aborted) {
      const name = signal.reason as NodeJS.Signals;
      await out.last('');
      const where = error instanceof Interrupted && error.message ? ` ${error.message}` : '';
      stderr.write(`lmhead: stopped by ${name}${where}\n`);
      return 128 + constants.signals[name];
    }
    const misused = error instanceof UsageError;
    const hint = misused ? '; lmhead --help shows how' : '';
    stderr.write(`lmhead: ${oneLine(error)}${hint}\n`);
    if (!misused && !(error instanceof LMHeadError) && process.env.DEBUG) console.error(error);
    return misused ? MISUSED : FAILED;
  }
}

async function run(args: string[], terminal: Terminal): Promise<number> {
  const { out } = terminal;
  const [name, ...rest] = args;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    await out.write(rest[0] === undefined ? overview(COMMANDS) : helpFor(commandNamed(rest[0])));
    return name === undefined ? MISUSED : DONE;
  }
  if (name === '--version' || name === '-v') {
    await out.write(`${VERSION}\n`);
    return DONE;
  }
  const command = commandNamed(name);
  const parsed = parse(command, rest);
  if (parsed === 'help') {
    await out.write(helpFor(command));
    return DONE;
  }
  return (await command.run(parsed, terminal)) ? DONE : FAILED;
}

function commandNamed(name: string): Command {
  if (Object.hasOwn(COMMANDS, name)) return COMMANDS[name];
  const names = Object.keys(COMMANDS);
  const nearest = nearestName(name, names);
  const meant = names.includes(nearest)
    ? `; did you mean ${nearest}?`
    : existsSync(name)
      ? `; lmhead info ${name} says what that holds`
      : '';
  throw new UsageError(`'${name}': want one of ${names.join(', ')}${meant}`);
}

function oneLine(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  const text = (message ?? String(error)).trim().replace(/\s*\n[-\s]*/g, '; ');
  return error instanceof LMHeadError ? `${code}: ${text}` : text;
}
