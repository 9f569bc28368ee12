#!/usr/bin/env node
/** The command `lmhead`. */
import { main } from './main';

// A reader that has seen enough (head, less) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});
main(process.argv.slice(2), { stdout: process.stdout, stderr: process.stderr }).then(code => {
  process.exitCode = code;
});
