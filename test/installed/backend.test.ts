/** LMHEAD_BACKEND=native in the package as it is installed: the binary computes, or nothing does. */
import { spawnSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { project, USE, USED } from './project';

const bare = join(project, '../no binary');

beforeAll(() => {
  cpSync(join(project, 'node_modules'), join(bare, 'node_modules'), { recursive: true });
  rmSync(join(bare, 'node_modules/lmhead/prebuilds'), { recursive: true });
});

/** Of a process that is told so. */
function spawn(cwd: string, command: string[], args: string[], backend = 'native') {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(VITEST|NODE_|LMHEAD_|npm_)/.test(name)),
  );
  const [program, ...before] = command;
  const { status, stdout, stderr } = spawnSync(program, [...before, ...args], {
    cwd,
    env: { ...env, LMHEAD_BACKEND: backend },
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

/** Opens a head, and calls a function over given logits, which chooses for itself. */
const ATTEMPT = `
  const attempt = call => {
    try {
      return String(call());
    } catch (error) {
      return [error instanceof LMHeadError, error.code, error.message].join('\\n');
    }
  };
  const sizes = { vocabSize: 3, hiddenSize: 2 };
  console.log(JSON.stringify([
    attempt(() => LMHead.from(new Float32Array(6), sizes).backend),
    attempt(() => LMHead.openSync('node_modules/lmhead/assets/tiny-lm.safetensors', { backend: 'auto' }).backend),
    attempt(() => topKOf(new Float32Array(3), 3, 1).ids),
    attempt(() => LMHead.from(new Float32Array(6), { ...sizes, backend: 'reference' }).backend),
  ]));`;

// Emulators would take most of the time, and choose no other way.
const runtimes = inject('runtimes').filter(({ name }) => !name.includes('emulated'));

describe.each(runtimes)('LMHEAD_BACKEND=native, $name', ({ command }) => {
  it('is heeded where there is a binary', () => {
    const program = `const { capabilities, LMHead } = require('lmhead');${USE}`;
    const { status, stdout, stderr } = spawn(project, command, ['-e', program]);
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(USED);
  });

  it.each([
    ['CommonJS', ['-e', `const { LMHead, LMHeadError, topKOf } = require('lmhead');${ATTEMPT}`]],
    [
      'ES modules',
      ['--input-type=module', '-e', `import { LMHead, LMHeadError, topKOf } from 'lmhead';${ATTEMPT}`],
    ],
  ])('throws an LMHeadError where there is none, and falls back to nothing: %s', (_, args) => {
    const { status, stdout, stderr } = spawn(bare, command, args);
    // Not even the warning of a fallback.
    expect([status, stderr]).toEqual([0, '']);
    const [from, open, given, reference] = JSON.parse(stdout) as string[];
    for (const said of [from, open, given]) {
      const [isOurs, code, ...message] = said.split('\n');
      expect([isOurs, code]).toEqual(['true', 'ERR_LMHEAD_LOAD']);
      // Which files were tried, and what to do.
      expect(message.join('\n')).toMatch(/^- .*prebuilds.*lmhead.*\.node: not there$/m);
      expect(message.join('\n')).toContain('build:from-source');
    }
    expect(reference).toBe('reference');
  });
});

describe('without a binary', () => {
  const node = [process.execPath];
  const program = `const { LMHead } = require('lmhead');
    console.log(LMHead.from(new Float32Array(6), { vocabSize: 3, hiddenSize: 2 }).backend);`;

  it('and without LMHEAD_BACKEND, falls back with a warning', () => {
    const { status, stdout, stderr } = spawn(bare, node, ['-e', program], 'auto');
    expect([status, stdout]).toEqual([0, 'reference\n']);
    expect(stderr).toContain('LMHEAD_REFERENCE');
  });

  it('the command ends with the error, and prints no results', () => {
    const cli = 'node_modules/lmhead/dist/cli/index.js';
    const file = 'node_modules/lmhead/assets/tiny-lm.safetensors';
    const { status, stdout, stderr } = spawn(bare, node, [cli, 'verify', file]);
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^lmhead: ERR_LMHEAD_LOAD: /);
  });
});
