/** Runs the command line in this process. */
import { Writable } from 'node:stream';
import { main } from '../../lib/cli/main';

export interface Output {
  code: number;
  stdout: string;
  stderr: string;
}

/** @param terminal is the standard error one? */
export async function lmhead(args: string[], terminal = false): Promise<Output> {
  const text = { stdout: '', stderr: '' };
  const stream = (name: 'stdout' | 'stderr') =>
    new Writable({
      write(chunk, _encoding, done) {
        text[name] += chunk;
        done();
      },
    });
  const code = await main(args, {
    stdout: stream('stdout'),
    stderr: Object.assign(stream('stderr'), { isTTY: terminal }),
  });
  return { code, ...text };
}

/** The lines of JSON that a command prints. */
export async function jsonLines(args: string[]): Promise<Record<string, unknown>[]> {
  const { code, stdout, stderr } = await lmhead([...args, '--json']);
  if (code !== 0) throw new Error(stderr);
  return stdout
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as Record<string, unknown>);
}
