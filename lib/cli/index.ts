#!/usr/bin/env node
/** The command `lmhead`. */
import { fstatSync } from 'node:fs';
import { isatty } from 'node:tty';
import { main } from './main';
import { fileStream } from './streams';

// Where messages can't be written, there is nobody to be told.
process.stderr.on('error', () => {});

// Unless Node was told to be silent.
if (process.listenerCount('warning') > 0) {
  const said = new Set<string>();
  process.removeAllListeners('warning').on('warning', ({ message }) => {
    if (!said.has(message)) process.stderr.write(`lmhead: warning: ${message}\n`);
    said.add(message);
  });
}

const controller = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  // The second one is for those who don't want to wait.
  process.once(name, () => controller.abort(name));
}

const streams = {
  stdout: isFile(1) ? fileStream(1) : process.stdout,
  stderr: process.stderr,
  // To look at it opens it, and what is open keeps the process.
  get stdin() {
    return process.stdin;
  },
};
main(process.argv.slice(2), streams, controller.signal).then(code => {
  // What the reader of a pipe has not taken would keep the process.
  if (controller.signal.aborted) process.exit(code);
  process.exitCode = code;
});

/** A file or a device, but no terminal, pipe or socket. */
function isFile(file: number): boolean {
  const stat = fstatSync(file);
  return (stat.isFile() || stat.isCharacterDevice() || stat.isBlockDevice()) && !isatty(file);
}
