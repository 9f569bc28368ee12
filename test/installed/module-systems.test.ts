/** Every runtime, every module system. */
import { chmodSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, inject, it } from 'vitest';
import { project, run, USE, USED, write } from './project';

const runtimes = inject('runtimes');

describe.each(runtimes)('$name', runtime => {
  it('imports it', () => {
    const file = write('import.mjs', `import { capabilities, LMHead } from 'lmhead';${USE}`);
    expect(run(runtime, [file])).toMatch(USED);
  });

  it('requires it', () => {
    const file = write('require.cjs', `const { capabilities, LMHead } = require('lmhead');${USE}`);
    expect(run(runtime, [file])).toMatch(USED);
  });

  it('imports on demand what it required: one and the same', () => {
    const file = write(
      'both.cjs',
      `const required = require('lmhead');
       import('lmhead').then(imported => {
         console.log(Object.keys(required).every(name => required[name] === imported[name]),
           Object.keys(imported).filter(name => !(name in required) && name !== 'default').length);
       });`,
    );
    expect(run(runtime, [file])).toBe('true 0\n');
  });

  it('loads it in a worker thread', () => {
    write('worker.cjs', `const { capabilities, LMHead } = require('lmhead');${USE}`);
    const file = write(
      'start-worker.cjs',
      `const { Worker } = require('node:worker_threads');
       new Worker(require('node:path').join(__dirname, 'worker.cjs'))
         .on('error', error => { throw error; });`,
    );
    expect(run(runtime, [file])).toMatch(USED);
  });

  it('throws errors of one class', () => {
    const file = write(
      'error.mjs',
      `import { LMHead, LMHeadError } from 'lmhead';
       try { LMHead.from(new Float32Array(5), { vocabSize: 3, hiddenSize: 2 }); }
       catch (error) { console.log(error instanceof LMHeadError, error.code); }`,
    );
    expect(run(runtime, [file])).toBe('true ERR_LMHEAD_SHAPE\n');
  });
});

const NOBODY = 65534;

it.skipIf(process.platform === 'win32')('runs from a folder that it may not write to', () => {
  const file = write('read-only.mjs', `import { capabilities, LMHead } from 'lmhead';${USE}`);
  const everything = [
    project,
    ...readdirSync(project, { recursive: true, encoding: 'utf8' }).map(name => join(project, name)),
  ];
  const modes = new Map(everything.map(path => [path, statSync(path).mode]));
  const above = dirname(project);
  chmodSync(above, 0o755);
  try {
    // Root may write everywhere; so it becomes somebody who may not.
    for (const [path, mode] of modes) chmodSync(path, (mode | 0o444) & ~0o222);
    const uid = process.getuid!() === 0 ? NOBODY : undefined;
    const [runtime] = runtimes
      .filter(({ name }) => name.startsWith('Node.js') && !name.includes('emulated'))
      .slice(-1);
    expect(run(runtime, [file], { uid })).toMatch(USED);
  } finally {
    for (const [path, mode] of modes) chmodSync(path, mode);
  }
});
